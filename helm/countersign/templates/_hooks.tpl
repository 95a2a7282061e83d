{{/* Annotations of what a hook's Job needs: there before it, gone when all has succeeded. */}}
{{- define "countersign.hookCopy" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: "-5"
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* A Job that runs one command of the program on the database. A failed one stays for its log to be read; nothing
secret is in it. Called with a dict: root, name, account, hooks, weight, args. */}}
{{- define "countersign.hookJob" -}}
{{- $root := .root -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "countersign.fullname" $root }}-{{ .name }}
  labels:
    {{- include "countersign.labels" (list $root .name) | nindent 4 }}
  annotations:
    helm.sh/hook: {{ .hooks }}
    helm.sh/hook-weight: {{ .weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  backoffLimit: {{ int $root.Values.migration.backoffLimit }}
  activeDeadlineSeconds: {{ int $root.Values.migration.activeDeadlineSeconds }}
  template:
    metadata:
      labels:
        {{- include "countersign.labels" (list $root .name) | nindent 8 }}
    spec:
      {{- include "countersign.podBasics" (list $root .account) | nindent 6 }}
      restartPolicy: Never
      containers:
        - name: {{ .name }}
          {{- include "countersign.containerBasics" $root | nindent 10 }}
          args: {{ toJson .args }}
          env:
            {{- include "countersign.configEnv" $root | nindent 12 }}
            {{- with $root.Values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          resources:
            {{- toYaml $root.Values.migration.resources | nindent 12 }}
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
