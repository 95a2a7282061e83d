{{/* What the servers say to OpenTelemetry's SDK, in the standard's own variables. */}}

{{/* Values of the chart by the variables that they become; an empty one is left out. */}}
{{- define "countersign.otelVariables" -}}
{{- $otel := .Values.otel -}}
{{- $found := dict -}}
{{- if $otel.disabled -}}
{{- $_ := set $found "OTEL_SDK_DISABLED" "true" -}}
{{- else -}}
{{- with $otel.endpoint -}}
{{- $_ := set $found "OTEL_EXPORTER_OTLP_ENDPOINT" . -}}
{{- end -}}
{{- /* A variable may name an endpoint too, for one kind of data alone. */ -}}
{{- if or $otel.endpoint $otel.variables -}}
{{- $_ := set $found "OTEL_EXPORTER_OTLP_PROTOCOL" $otel.protocol -}}
{{- end -}}
{{- with $otel.sampler -}}
{{- $_ := set $found "OTEL_TRACES_SAMPLER" . -}}
{{- end -}}
{{- with $otel.samplerArg -}}
{{- $_ := set $found "OTEL_TRACES_SAMPLER_ARG" . -}}
{{- end -}}
{{- range $name, $value := $otel.variables -}}
{{- /* A number of YAML is a floating one in here, and would be written as 1e+06. */ -}}
{{- $_ := set $found $name (ternary $value (toJson $value) (kindIs "string" $value)) -}}
{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{/* Names of the standard's that have a value of their own here, and so are none of `otel.variables`. */}}
{{- define "countersign.otelOwn" -}}
{{- dict
      "OTEL_SDK_DISABLED" "disabled"
      "OTEL_EXPORTER_OTLP_ENDPOINT" "endpoint"
      "OTEL_EXPORTER_OTLP_PROTOCOL" "protocol"
      "OTEL_EXPORTER_OTLP_HEADERS" "existingSecret"
      "OTEL_TRACES_SAMPLER" "sampler"
      "OTEL_TRACES_SAMPLER_ARG" "samplerArg"
      "OTEL_RESOURCE_ATTRIBUTES" "resourceAttributes"
    | toJson -}}
{{- end -}}

{{- define "countersign.otelEnv" -}}
{{- if not .Values.otel.disabled -}}
- name: K8S_POD_NAME
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ include "countersign.otelResource" . | quote }}
{{- with .Values.otel.existingSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: {{ $.Values.otel.existingSecretKey }}}
{{- end }}
{{- end }}
{{- range $name, $value := include "countersign.otelVariables" . | fromJson }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* The cluster's names by OpenTelemetry's conventions, unless the user says others. */}}
{{- define "countersign.otelResource" -}}
{{- $attributes := dict "k8s.namespace.name" .Release.Namespace "k8s.pod.name" "$(K8S_POD_NAME)" -}}
{{- $attributes = merge (deepCopy .Values.otel.resourceAttributes) $attributes -}}
{{- $pairs := list -}}
{{- range $name, $value := $attributes -}}
{{- $pairs = append $pairs (printf "%s=%s" $name $value) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end -}}
