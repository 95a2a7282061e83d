{{/* What the pods of the servers, of the hooks and of the test have in common, and the servers' pod. */}}

{{/* Called with a list: the root, and the name of the ServiceAccount. */}}
{{- define "countersign.podBasics" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ index . 1 }}
# Nothing here talks to the API server.
automountServiceAccountToken: false
# For a Service named `countersign` Kubernetes would set variables that look like settings.
enableServiceLinks: false
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "countersign.containerBasics" -}}
image: {{ include "countersign.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.containerSecurityContext | nindent 2 }}
{{- end -}}

{{/* Settings and secrets: the same for servers and hooks. Called with a list: the root, and what is put behind the
names of objects that the chart makes. */}}
{{- define "countersign.configVolumes" -}}
{{- $root := index . 0 -}}
- name: config
  configMap:
    name: {{ include "countersign.fullname" $root }}{{ index . 1 }}
{{- if include "countersign.isPostgres" $root }}
{{ include "countersign.secretVolume" (list $root "database-url" "database-url" (index . 1)) }}
{{- end }}
{{- if (include "countersign.secret" (list $root "root-key") | fromJson).given }}
{{ include "countersign.secretVolume" (list $root "root-key" "root-key" (index . 1)) }}
{{- end }}
{{- with $root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "countersign.configMounts" -}}
- name: config
  mountPath: /etc/countersign/config
  readOnly: true
{{- if include "countersign.isPostgres" . }}
- name: database-url
  mountPath: /etc/countersign/database-url
  readOnly: true
{{- end }}
{{- if (include "countersign.secret" (list . "root-key") | fromJson).given }}
- name: root-key
  mountPath: /etc/countersign/root-key
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "countersign.configEnv" -}}
- name: COUNTERSIGN_CONFIG
  value: /etc/countersign/config/countersign.toml
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* On SQLite a server whose store is empty installs the credential that lies in its folder, and makes one if none
does. So a credential that was given is mounted there: it counts once, and a rotated one stops no later start. */}}
{{- define "countersign.mountsAdmin" -}}
{{- if and (not (include "countersign.isPostgres" .)) (include "countersign.secret" (list . "admin") | fromJson).given }}true{{ end -}}
{{- end -}}

{{/* The template of a server's pod: its metadata and spec. */}}
{{- define "countersign.serverPod" -}}
metadata:
  labels:
    {{- include "countersign.labels" (list . "server" .Values.podLabels) | nindent 4 }}
  annotations:
    # Settings are read at the start: a change of them is a change of the pods.
    checksum/settings: {{ include "countersign.settings" . | sha256sum }}
    {{- with include "countersign.secret" (list . "root-key") | fromJson }}
    {{- if .made }}
    # Not of the database URL: a password is short enough to be guessed from its hash.
    checksum/root-key: {{ .value | sha256sum }}
    {{- end }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "countersign.podBasics" (list . (include "countersign.serviceAccountName" .)) | nindent 2 }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- range .Values.topologySpread.topologyKeys }}
    - topologyKey: {{ . }}
      maxSkew: {{ int $.Values.topologySpread.maxSkew }}
      whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "countersign.serverLabels" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  terminationGracePeriodSeconds: {{ int .Values.terminationGracePeriodSeconds }}
  containers:
    - name: countersign
      {{- include "countersign.containerBasics" . | nindent 6 }}
      args: [serve]
      # Where `kubectl exec … -- countersign keys …` finds what a server on SQLite has made.
      workingDir: {{ include "countersign.dataDir" . | dir }}
      env:
        {{- include "countersign.configEnv" . | nindent 8 }}
        # For the command line in this pod, which administers.
        - name: COUNTERSIGN_ENDPOINT
          value: http://{{ include "countersign.listen" (list (include "countersign.loopback" .Values.listenAddress) 50052) }}
        {{- include "countersign.otelEnv" . | nindent 8 }}
      ports:
        - name: grpc
          containerPort: 50051
        - name: grpc-admin
          containerPort: 50052
        {{- if .Values.gatewayHttp.enabled }}
        - name: gateway
          containerPort: 8081
        {{- end }}
        - name: http
          containerPort: 8080
      # /livez answers from the first moment on, also while a large store is read; /readyz when it is.
      startupProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      {{- if .Values.preStopSleepSeconds }}
      lifecycle:
        preStop:
          # Nodes and clients learn of an end some moments after the server would.
          sleep: {seconds: {{ int .Values.preStopSleepSeconds }}}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        {{- include "countersign.configMounts" . | nindent 8 }}
        - name: data
          mountPath: {{ include "countersign.dataDir" . }}
        {{- if include "countersign.mountsAdmin" . }}
        - name: admin
          mountPath: {{ include "countersign.dataDir" . }}/admin.env
          subPath: admin.env
          readOnly: true
        {{- end }}
        - name: tmp
          mountPath: /tmp
  volumes:
    {{- include "countersign.configVolumes" (list . "") | nindent 4 }}
    {{- if include "countersign.mountsAdmin" . }}
    {{- include "countersign.secretVolume" (list . "admin" "admin.env" "") | nindent 4 }}
    {{- end }}
    {{- if not .Values.persistence.enabled }}
    - name: data
      emptyDir: {}
    {{- end }}
    # SQLite's own temporary files.
    - name: tmp
      emptyDir: {}
{{- end -}}
