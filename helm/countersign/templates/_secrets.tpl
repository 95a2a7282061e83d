{{/* The three secrets: whether there is one, which Secret it is in, and the Secrets that the chart makes. */}}

{{/* A dict for one of `root-key`, `database-url`, `admin`. Called with a list: the root, and which. */}}
{{- define "countersign.secret" -}}
{{- $root := index . 0 -}}
{{- $which := index . 1 -}}
{{- $values := $root.Values -}}
{{- $said := dict -}}
{{- if eq $which "root-key" -}}
{{- $said = dict "value" $values.rootKey.value "existing" $values.rootKey.existingSecret "key" $values.rootKey.existingSecretKey "ownKey" "root-key" -}}
{{- else if eq $which "database-url" -}}
{{- $said = dict "value" $values.database.url "existing" $values.database.existingSecret "key" $values.database.existingSecretKey "ownKey" "database-url" -}}
{{- else -}}
{{- $said = dict "value" $values.adminCredential.value "existing" $values.adminCredential.existingSecret "key" $values.adminCredential.existingSecretKey "ownKey" "admin.env" -}}
{{- end -}}
{{- $own := printf "%s-%s" (include "countersign.fullname" $root) $which -}}
{{- dict
      "given" (or (ne $said.value "") (ne $said.existing ""))
      "made" (ne $said.value "")
      "value" $said.value
      "ownKey" $said.ownKey
      "name" (default $own $said.existing)
      "key" (ternary $said.key $said.ownKey (ne $said.existing ""))
    | toJson -}}
{{- end -}}

{{/* A volume of one secret, for the group alone. Called with a list: the root, which, the file's name, and what is
put behind the Secret's name if the chart made it. */}}
{{- define "countersign.secretVolume" -}}
{{- $secret := include "countersign.secret" (list (index . 0) (index . 1)) | fromJson -}}
- name: {{ index . 1 }}
  secret:
    secretName: {{ ternary (printf "%s%s" $secret.name (index . 3)) $secret.name $secret.made }}
    defaultMode: 0440
    items:
      - key: {{ $secret.key }}
        path: {{ index . 2 }}
{{- end -}}
