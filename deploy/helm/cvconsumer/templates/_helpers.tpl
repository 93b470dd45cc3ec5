{{- define "cvconsumer.name" -}}
{{- if contains "cvconsumer" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-cvconsumer" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "cvconsumer.selector" -}}
app.kubernetes.io/name: cvconsumer
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "cvconsumer.labels" -}}
{{ include "cvconsumer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "cvconsumer.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "cvconsumer.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- /* The prefix of subjects; streams begin with its upper case. */ -}}
{{- define "cvconsumer.streams" -}}
{{ .Values.settings.CONSUMER_SUBJECT_PREFIX | default "cv" | upper }}
{{- end }}
