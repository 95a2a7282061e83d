{{/*
What can't work is refused before anything is made, with the reason. `values.schema.json` refuses wrong types and
names; here stands what depends on several values, and the form of secrets: the schema's errors would quote them.
*/}}
{{- define "countersign.refuse" -}}
{{- include "countersign.refuseNames" . -}}
{{- include "countersign.refusePods" . -}}
{{- include "countersign.refuseServices" . -}}
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
{{- $admin := trim $values.adminCredential.value -}}
{{- if $admin -}}
{{- $halves := list -}}
{{- range $line := splitList "\n" $admin -}}
{{- $halves = append $halves (regexFind "^COUNTERSIGN_(KEY_ID|SECRET)=[^\\s]" (trim $line) | trunc 18) -}}
{{- end -}}
{{- if not (has (join " " $halves) (list "COUNTERSIGN_KEY_ID COUNTERSIGN_SECRET" "COUNTERSIGN_SECRET COUNTERSIGN_KEY_ID")) -}}
{{- fail "adminCredential.value must be the two lines COUNTERSIGN_KEY_ID=… and COUNTERSIGN_SECRET=…, as `countersign keys mint` prints them" -}}
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
{{- if and $values.autoscaling.enabled (not (or (dig "requests" "cpu" "" $values.resources) (dig "limits" "cpu" "" $values.resources))) -}}
{{- fail "autoscaling.enabled, but resources.requests.cpu is not given: what is used is measured against what is requested, so nothing would ever be scaled" -}}
{{- end -}}
{{- if gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if lt (int $values.terminationGracePeriodSeconds) (add (int $values.preStopSleepSeconds) 10) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, less than preStopSleepSeconds and the 10 seconds in which a server ends: it would be killed with requests in hand" (int $values.terminationGracePeriodSeconds)) -}}
{{- end -}}
{{- end -}}

{{/* Names that Kubernetes would refuse halfway through an install, and labels that selectors stand on. */}}
{{- define "countersign.refuseNames" -}}
{{- $fullname := include "countersign.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $fullname) -}}
{{- fail (printf "objects would be named %s, which no Service can be: a name begins with a letter, and has small letters, digits and - alone. Give another one as fullnameOverride" $fullname) -}}
{{- end -}}
{{- range $path, $labels := dict
      "commonLabels" .Values.commonLabels
      "podLabels" .Values.podLabels
      "hooks.podLabels" .Values.hooks.podLabels
      "serviceMonitor.labels" .Values.serviceMonitor.labels
      "prometheusRule.labels" .Values.prometheusRule.labels -}}
{{- range $name := keys $labels | sortAlpha -}}
{{- if regexMatch "^(app\\.kubernetes\\.io|helm\\.sh)/" $name -}}
{{- fail (printf "%s: the label %s is the chart's own, by which Services and policies find the pods" $path $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the user adds to the pods and the chart has already said. */}}
{{- define "countersign.refusePods" -}}
{{- $otel := include "countersign.otelOwn" . | fromJson -}}
{{- range .Values.extraEnv -}}
{{- if hasPrefix "COUNTERSIGN_" .name -}}
{{- fail (printf "extraEnv: %s would be said twice: settings, under the settings' own names, and the chart's other values say it" .name) -}}
{{- else if hasKey $otel .name -}}
{{- fail (printf "extraEnv: say %s as otel.%s" .name (index $otel .name)) -}}
{{- else if eq .name "K8S_POD_NAME" -}}
{{- fail "extraEnv: K8S_POD_NAME is the chart's own" -}}
{{- end -}}
{{- end -}}
{{- $volumes := list -}}
{{- range .Values.extraVolumes -}}
{{- if has .name (list "config" "root-key" "database-url" "admin" "data" "tmp") -}}
{{- fail (printf "extraVolumes: a volume named %s is there already, the chart's own" .name) -}}
{{- else if has .name $volumes -}}
{{- fail (printf "extraVolumes: two are named %s" .name) -}}
{{- end -}}
{{- $volumes = append $volumes .name -}}
{{- end -}}
{{- $data := include "countersign.dataDir" . -}}
{{- range .Values.extraVolumeMounts -}}
{{- if not (has .name $volumes) -}}
{{- fail (printf "extraVolumeMounts: there is no volume %s in extraVolumes" .name) -}}
{{- end -}}
{{- $path := printf "%s/" (trimSuffix "/" .mountPath) -}}
{{- range $own := list "/etc/countersign/" "/tmp/" (printf "%s/" $data) -}}
{{- if or (hasPrefix $own $path) (hasPrefix $path $own) -}}
{{- fail (printf "extraVolumeMounts: %s would hide %s, or lie in it, which is the chart's own" (trimSuffix "/" $path) (trimSuffix "/" $own)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Doors that nobody could use, or everybody. */}}
{{- define "countersign.refuseServices" -}}
{{- $ports := dict -}}
{{- range $name := list "grpcPort" "adminPort" "httpPort" -}}
{{- $port := index $.Values.service $name | int | toString -}}
{{- if hasKey $ports $port -}}
{{- fail (printf "service.%s and service.%s are both %s" (index $ports $port) $name $port) -}}
{{- end -}}
{{- $_ := set $ports $port $name -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.otel.disabled) .Values.networkPolicy.enabled (not .Values.networkPolicy.metrics) -}}
{{- fail "serviceMonitor.enabled, but networkPolicy.metrics is empty: Prometheus would not get through. List its pods, e.g. networkPolicy.metrics=[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- if .Values.externalService.enabled -}}
{{- if and .Values.externalService.loadBalancerSourceRanges (ne .Values.externalService.type "LoadBalancer") -}}
{{- fail "externalService.loadBalancerSourceRanges is for externalService.type=LoadBalancer; say as an ipBlock of networkPolicy.verification who reaches a NodePort" -}}
{{- end -}}
{{- $outside := false -}}
{{- range .Values.networkPolicy.verification -}}
{{- if .ipBlock -}}
{{- $outside = true -}}
{{- end -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not $outside) -}}
{{- fail "externalService.enabled, but networkPolicy.verification lists no ipBlock: nobody outside of the cluster would get through. List the addresses that may ask" -}}
{{- end -}}
{{- end -}}
{{- end -}}
