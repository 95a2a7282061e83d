{{/* The server's settings file. */}}

{{/* Where the server's folder is: within the image's working directory, under the name that the command line looks
for, so that `kubectl exec … -- countersign keys list` finds the credential that a server on SQLite has made. */}}
{{- define "countersign.dataDir" -}}/var/lib/countersign/countersign-data{{- end -}}

{{/* What Helm's own toToml can't: integers stay integers. Called with a value that is no table. */}}
{{- define "countersign.toml" -}}
{{- if kindIs "slice" . -}}
[{{- range $i, $one := . -}}{{- if $i }}, {{ end }}{{ include "countersign.toml" $one }}{{- end -}}]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{/* Tables come last in TOML: what stood below one would be its own. Each route has lines of its own, since the
program names routes by the lines that they begin in. */}}
{{- define "countersign.settings" -}}
{{- $values := .Values -}}
{{- $listen := $values.listenAddress -}}
listen = {{ include "countersign.listen" (list $listen 50051) | toJson }}
admin-listen = {{ include "countersign.listen" (list $listen 50052) | toJson }}
http-listen = {{ include "countersign.listen" (list $listen 8080) | toJson }}
{{- if $values.gatewayHttp.enabled }}
gateway-listen = {{ include "countersign.listen" (list $listen 8081) | toJson }}
{{- end }}
data-dir = {{ include "countersign.dataDir" . | toJson }}
{{- if include "countersign.isPostgres" . }}
database-url-file = "/etc/countersign/database-url/database-url"
{{- end }}
{{- if (include "countersign.secret" (list . "root-key") | fromJson).given }}
root-key-file = "/etc/countersign/root-key/root-key"
{{- end }}
{{- range $name := without (keys $values.settings) "gateway" | sortAlpha }}
{{- $value := index $values.settings $name }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }} = {{ include "countersign.toml" $value }}
{{- end }}
{{- end }}
{{- range $route := (get $values.settings "gateway" | default dict).routes }}

[[gateway.routes]]
{{- range $name := keys $route | sortAlpha }}
{{ $name }} = {{ include "countersign.toml" (index $route $name) }}
{{- end }}
{{- end }}
{{- end -}}
