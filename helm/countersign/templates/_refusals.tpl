{{/*
What can't work is refused before anything is made, with the reason. `values.schema.json` refuses wrong types and
names; here stands what depends on several values, and the form of secrets: the schema's errors would quote them.
*/}}
{{- define "countersign.refuse" -}}
{{- $values := .Values -}}
{{- $postgres := include "countersign.isPostgres" . -}}
{{- range $name, $pair := dict
      "database.url" (list $values.database.url $values.database.existingSecret "database.existingSecret")
      "rootKey.value" (list $values.rootKey.value $values.rootKey.existingSecret "rootKey.existingSecret")
      "adminCredential.value" (list $values.adminCredential.value $values.adminCredential.existingSecret "adminCredential.existingSecret") -}}
{{- if and (index $pair 0) (index $pair 1) -}}
{{- fail (printf "%s and %s are both given: give one of them" $name (index $pair 2)) -}}
{{- end -}}
{{- end -}}
{{- if not (regexMatch "^(postgres(ql)?://.+)?$" $values.database.url) -}}
{{- fail "database.url must begin with postgres://" -}}
{{- end -}}
{{- range $line := splitList "\n" (trim $values.rootKey.value) -}}
{{- if not (regexMatch "^([0-9]+:[A-Za-z0-9+/]{43}=)?$" (trim $line)) -}}
{{- fail "rootKey.value must be lines of the form version:base64-of-32-bytes, as `countersign root-key generate` prints them" -}}
{{- end -}}
{{- end -}}
{{- if $postgres -}}
{{- if not (or $values.database.url $values.database.existingSecret) -}}
{{- fail "database.type is postgres, and neither database.url nor database.existingSecret says where it is" -}}
{{- end -}}
{{- if not (or $values.rootKey.value $values.rootKey.existingSecret) -}}
{{- fail "PostgreSQL needs a root key: all replicas share it and it must outlive them, so none is generated. Make one with `countersign root-key generate`, keep a copy, and give it as rootKey.existingSecret or rootKey.value" -}}
{{- end -}}
{{- else -}}
{{- if gt (int $values.replicas) 1 -}}
{{- fail (printf "replicas is %d, but SQLite has one server: its database is a file on one volume. Several replicas need database.type=postgres" (int $values.replicas)) -}}
{{- end -}}
{{- if $values.autoscaling.enabled -}}
{{- fail "autoscaling.enabled needs several replicas, but SQLite has one server: its database is a file on one volume. Several replicas need database.type=postgres" -}}
{{- end -}}
{{- if not $values.persistence.enabled -}}
{{- fail "SQLite needs persistence.enabled: without a volume every key, and the root key, would end with the pod" -}}
{{- end -}}
{{- if or $values.database.url $values.database.existingSecret -}}
{{- fail "database.url and database.existingSecret are for database.type=postgres; SQLite's database is a file on the volume" -}}
{{- end -}}
{{- end -}}
{{- if contains "@" $values.otel.endpoint -}}
{{- fail "otel.endpoint must hold no user and no password: what the collector asks for stands in the Secret that otel.existingSecret names" -}}
{{- end -}}
{{- range $name, $own := include "countersign.otelOwn" . | fromJson -}}
{{- if hasKey $values.otel.variables $name -}}
{{- fail (printf "otel.variables.%s: say it as otel.%s" $name $own) -}}
{{- end -}}
{{- end -}}
{{- if $values.otel.disabled -}}
{{- range $name := list "serviceMonitor" "prometheusRule" -}}
{{- if (index $values $name).enabled -}}
{{- fail (printf "%s.enabled, but otel.disabled: nothing is measured then, and /metrics is 404" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if lt (int $values.terminationGracePeriodSeconds) (add (int $values.preStopSleepSeconds) 10) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, less than preStopSleepSeconds and the 10 seconds in which a server ends: it would be killed with requests in hand" (int $values.terminationGracePeriodSeconds)) -}}
{{- end -}}
{{- end -}}
