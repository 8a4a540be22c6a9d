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

{{/* Jobs at once of each worker of a pool. */}}
{{- define "transfusion.slots" -}}
{{- $each := get . "gpusPerJob" | default 1 | int -}}
{{- if and .gpus (lt (int .gpus) $each) }}{{ fail (printf "expected gpus of a pool to be %d or more, as many as gpusPerJob, got %d" $each (int .gpus)) }}{{ end -}}
{{- if get . "slots" }}{{ int .slots -}}
{{- else if .gpus }}{{ mul (div (int .gpus) $each) (get . "packing" | default 1 | int) -}}
{{- else }}{{ max 1 (div (include "transfusion.cores" . | int) 2) }}{{ end -}}
{{- end -}}

{{/* Cores that a pool's worker may use, whole ones; 0 where nothing is said. */}}
{{- define "transfusion.cores" -}}
{{- $limits := .resources.limits | default dict -}}
{{- $requests := .resources.requests | default dict -}}
{{- $cpu := get $limits "cpu" | default (get $requests "cpu") | toString -}}
{{- if hasSuffix "m" $cpu }}{{ div (trimSuffix "m" $cpu | int) 1000 }}{{ else }}{{ $cpu | float64 | int }}{{ end -}}
{{- end -}}

{{/* Ports of the collectors that settings name, for the parts that have settings of their own too. */}}
{{- define "transfusion.tracePorts" -}}
{{- $every := list .Values.settings .Values.api.settings -}}
{{- range .Values.pools }}{{ $every = append $every (get . "settings" | default dict) }}{{ end -}}
{{- $ports := list -}}
{{- range $every -}}
{{- with get . "TRANSFUSION_OTLP_ENDPOINT" -}}
{{- $port := regexFind ":[0-9]+$" (urlParse .).host | trimPrefix ":" -}}
{{- $ports = append $ports ($port | default (ternary "443" "80" (hasPrefix "https:" .))) -}}
{{- end -}}
{{- end -}}
{{- uniq $ports | join " " -}}
{{- end -}}

{{/* Settings as environment variables; empty ones are left out, which the program takes for not given. */}}
{{- define "transfusion.env" -}}
{{- range $name, $value := . }}
{{- if ne (toString $value) "" }}
- {name: {{ $name }}, value: {{ toString $value | quote }}}
{{- end }}
{{- end }}
{{- end -}}
