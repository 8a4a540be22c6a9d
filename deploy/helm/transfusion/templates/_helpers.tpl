{{- define "transfusion.name" -}}
{{- printf "%s-%s" .Release.Name "transfusion" | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that never change, of the part given: (dict "root" $ "part" "api") */}}
{{- define "transfusion.selector" -}}
app.kubernetes.io/name: transfusion
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "transfusion.labels" -}}
{{ include "transfusion.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* An image: (dict "root" $ "name" "transfusion-api") */}}
{{- define "transfusion.image" -}}
{{- $name := printf "%s%s" .root.Values.image.registry .name -}}
{{- if contains "@" $name }}{{ $name }}{{ else }}{{ $name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* What every pod of ours is like. */}}
{{- define "transfusion.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What every container of ours is like. */}}
{{- define "transfusion.container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
envFrom:
  - secretRef: {name: {{ .Values.existingSecret }}}
{{- end -}}

{{/* Settings as environment variables; empty ones are left out, which the program takes for not given. */}}
{{- define "transfusion.env" -}}
{{- range $name, $value := . }}
{{- if ne (toString $value) "" }}
- {name: {{ $name }}, value: {{ toString $value | quote }}}
{{- end }}
{{- end }}
{{- end -}}
