{{/* Every name and label of the chart. */}}

{{- define "xcore.name" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of objects outside any namespace: two releases may share a cluster. */}}
{{- define "xcore.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "xcore.name" .) -}}
{{- end -}}

{{- define "xcore.secretName" -}}
{{- default (printf "%s-admin-key" (include "xcore.name" .)) .Values.adminKey.existingSecret -}}
{{- end -}}

{{- define "xcore.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}

{{/* What finds the controller's pods; never changed by an upgrade. */}}
{{- define "xcore.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end -}}

{{- define "xcore.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* As JSON: where plugins are looked for. The first is where those sent through the API go. */}}
{{- define "xcore.namespaces" -}}
{{- append .Values.pluginNamespaces .Release.Namespace | uniq | toJson -}}
{{- end -}}

{{/* Where plugins call each other: apart from the Service that clients use, which may be open to the world. */}}
{{- define "xcore.callsName" -}}
{{- printf "%s-calls" (include "xcore.name" .) -}}
{{- end -}}

{{/* The plugins' pods, as peers of a NetworkPolicy. */}}
{{- define "xcore.pluginPods" -}}
{{- if .Values.rbac.cluster }}
- namespaceSelector: {}
  podSelector: {matchExpressions: [{key: xcore.dev/plugin, operator: Exists}]}
{{- else }}
{{- range include "xcore.namespaces" . | fromJsonArray }}
- namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ . }}}}
  podSelector: {matchExpressions: [{key: xcore.dev/plugin, operator: Exists}]}
{{- end }}
{{- end }}
{{- end -}}

{{/* Pod Security "restricted", with what it does not ask for but a controller does not need either. */}}
{{- define "xcore.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "xcore.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What the controller may do where plugins are. Nothing with Secrets, no exec, no verb or kind it does not use. */}}
{{- define "xcore.rules" -}}
- apiGroups: [xcore.dev]
  resources: [plugins]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [xcore.dev]
  resources: [plugins/status]
  verbs: [get, update, patch]
# To own what it makes where the cluster checks who blocks a deletion.
- apiGroups: [xcore.dev]
  resources: [plugins/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, update, patch, delete]
# What plugins wanted before, to go back to.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch, create, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get, list, watch]
# A pod of its own probes the isolation of the others.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end -}}
