{{/* Names and labels. */}}

{{- define "countersign.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters, so that the longest suffix still fits into the 63 of a DNS label. */}}
{{- define "countersign.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "countersign.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "countersign.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What pods and objects of the release are found by, without their part in it. */}}
{{- define "countersign.releaseLabels" -}}
app.kubernetes.io/name: {{ include "countersign.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What the Services, the workload and the policies find the servers by; the hooks' pods have another component. */}}
{{- define "countersign.serverLabels" -}}
{{ include "countersign.releaseLabels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{/* All labels of an object. Called with a list: the root, the component, and the user's labels of this kind of object,
which win over those of all objects. */}}
{{- define "countersign.labels" -}}
{{- $root := index . 0 -}}
{{ include "countersign.releaseLabels" $root }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with merge dict (index . 2) $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "countersign.serviceAccountName" -}}
{{- $made := include "countersign.fullname" . -}}
{{- default (ternary $made "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "countersign.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "countersign.isPostgres" -}}
{{- if eq .Values.database.type "postgres" }}true{{ end -}}
{{- end -}}

{{/*
A StatefulSet, on PostgreSQL too: each replica notes on its volume how far it has followed the log. A replica that
starts with that note refuses a database that came back with less (a failover, a restored backup); one that starts on
an empty volume believes what it finds. Whoever accepts that for stateless pods has a Deployment.
*/}}
{{- define "countersign.workloadKind" -}}
{{- ternary "StatefulSet" "Deployment" .Values.persistence.enabled -}}
{{- end -}}

{{- define "countersign.manyReplicas" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) }}true{{ end -}}
{{- end -}}

{{/* Where the command line within the pod finds what listens on every address. */}}
{{- define "countersign.loopback" -}}
{{- get (dict "0.0.0.0" "127.0.0.1" "::" "::1") . | default . -}}
{{- end -}}

{{/* host:port for a listener; an IPv6 address stands in brackets. */}}
{{- define "countersign.listen" -}}
{{- $ip := index . 0 -}}
{{- ternary (printf "[%s]" $ip) $ip (contains ":" $ip) }}:{{ index . 1 -}}
{{- end -}}
