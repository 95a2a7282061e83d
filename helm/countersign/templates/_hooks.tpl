{{/* Annotations of what a hook's Job needs: there before it, gone when all has succeeded. */}}
{{- define "countersign.hookCopy" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: "-5"
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* A Job that runs one command of the program before the release's own objects are made or changed. A failed one
stays for its log to be read; nothing secret is in it. Called with a dict: root, name, account, weight, args. */}}
{{- define "countersign.hookJob" -}}
{{- $root := .root -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "countersign.fullname" $root }}-{{ .name }}
  labels:
    {{- include "countersign.labels" (list $root .name dict) | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: {{ .weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  backoffLimit: {{ int $root.Values.hooks.backoffLimit }}
  activeDeadlineSeconds: {{ int $root.Values.hooks.activeDeadlineSeconds }}
  {{- if eq .name "check-config" }}
  # What is wrong with a setting is wrong at every try.
  podFailurePolicy:
    rules:
      - action: FailJob
        onExitCodes: {containerName: check-config, operator: In, values: [2]}
  {{- end }}
  template:
    metadata:
      labels:
        {{- include "countersign.labels" (list $root .name $root.Values.hooks.podLabels) | nindent 8 }}
      {{- with $root.Values.hooks.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "countersign.podBasics" (list $root .account) | nindent 6 }}
      restartPolicy: Never
      containers:
        - name: {{ .name }}
          {{- include "countersign.containerBasics" $root | nindent 10 }}
          args: {{ toJson .args }}
          env:
            {{- include "countersign.configEnv" $root | nindent 12 }}
            {{- if eq .name "check-config" }}
            {{- include "countersign.otelEnv" $root | nindent 12 }}
            {{- end }}
          resources:
            {{- toYaml $root.Values.hooks.resources | nindent 12 }}
          volumeMounts:
            {{- include "countersign.configMounts" $root | nindent 12 }}
            {{- if eq .name "bootstrap" }}
            - name: admin
              mountPath: /etc/countersign/admin
              readOnly: true
            {{- end }}
      volumes:
        {{- include "countersign.configVolumes" (list $root "-hook") | nindent 8 }}
        {{- if eq .name "bootstrap" }}
        {{- include "countersign.secretVolume" (list $root "admin" "admin.env" "-hook") | nindent 8 }}
        {{- end }}
{{- end -}}
