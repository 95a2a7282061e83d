{{/* The server's settings file. */}}

{{/* Where the server's folder is: within the image's working directory, under the name that the command line looks
for, so that `kubectl exec … -- countersign keys list` finds the credential that a server on SQLite has made. */}}
{{- define "countersign.dataDir" -}}/var/lib/countersign/countersign-data{{- end -}}

{{/* What Helm's own toToml can't: integers stay integers. Called with one value of any kind. */}}
{{- define "countersign.toml" -}}
{{- if kindIs "map" . -}}
{ {{- range $i, $key := keys . | sortAlpha -}}
{{- if $i }},{{ end }} {{ $key | toJson }} = {{ include "countersign.toml" (index $ $key) }}
{{- end }} }
{{- else if kindIs "slice" . -}}
[{{- range $i, $one := . -}}{{- if $i }}, {{ end }}{{ include "countersign.toml" $one }}{{- end -}}]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{- define "countersign.settings" -}}
listen = {{ include "countersign.listen" (list .Values.listenAddress 50051) | toJson }}
http-listen = {{ include "countersign.listen" (list .Values.listenAddress 8080) | toJson }}
data-dir = {{ include "countersign.dataDir" . | toJson }}
{{- if include "countersign.isPostgres" . }}
database-url-file = "/etc/countersign/database-url/database-url"
{{- end }}
{{- if (include "countersign.secret" (list . "root-key") | fromJson).given }}
root-key-file = "/etc/countersign/root-key/root-key"
{{- end }}
{{- range $name := keys .Values.settings | sortAlpha }}
{{- $value := index $.Values.settings $name }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }} = {{ include "countersign.toml" $value }}
{{- end }}
{{- end }}
{{- end -}}
