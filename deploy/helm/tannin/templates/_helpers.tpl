{{/* Names, labels, and what the pods of all roles have in common. */}}

{{- define "tannin.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tannin.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tannin.labels" -}}
{{ include "tannin.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "tannin.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else if .Values.serviceAccount.create -}}
{{- include "tannin.fullname" . -}}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{/* Under which controllers are reached, whichever pod it is. */}}
{{- define "tannin.controllerAddresses" -}}
{{- $name := include "tannin.fullname" . -}}
{{- $domain := printf "%s-controller.%s.svc.%s" $name .Release.Namespace .Values.clusterDomain -}}
{{- $addresses := list -}}
{{- range $at := until (int .Values.controller.replicas) -}}
{{- $addresses = append $addresses (printf "%s-controller-%d.%s:9001" $name $at $domain) -}}
{{- end -}}
{{- join "," $addresses -}}
{{- end -}}

{{/* The settings file: what the chart knows, then `config`. */}}
{{- define "tannin.settings" -}}
{{- $own := dict
  "node" (dict "data_dir" "/var/lib/tannin" "host" "0.0.0.0")
  "controller" (dict "http_port" 9000 "grpc_port" 9001 "address" (include "tannin.controllerAddresses" .))
  "broker" (dict "http_port" 8099)
  "server" (dict "http_port" 8097 "grpc_port" 8098)
  "minion" (dict "http_port" 9514)
  "log" (dict "enabled" false)
  "deepstore" (dict "url" (default "file:///var/lib/tannin-deepstore" .Values.deepstore.url))
  "http" (dict "allowed_hosts" (include "tannin.hosts" . | fromJsonArray))
-}}
{{- $_ := set $own "security" (include "tannin.security" . | fromJson) -}}
{{- if .Values.metastore.url -}}
{{- $_ := set $own "metastore" (dict "kind" "postgres" "url" .Values.metastore.url) -}}
{{- end -}}
{{- if .Values.deepstore.credentialsSecret.name -}}
{{- $_ := set $own.deepstore "credentials_file" (printf "/etc/tannin-deepstore/%s" .Values.deepstore.credentialsSecret.key) -}}
{{- end -}}
{{- range $section, $keys := mustMergeOverwrite $own (deepCopy .Values.config) }}
[{{ $section }}]
{{- range $key, $value := $keys }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{ end -}}
{{- end -}}

{{/* Nodes listen beyond loopback, so they must know who comes in, or be told that nobody need prove it. */}}
{{- define "tannin.security" -}}
{{- $values := .Values.security -}}
{{- $security := dict "listen_without_authentication" $values.listenWithoutAuthentication -}}
{{- if not $values.listenWithoutAuthentication -}}
{{- $_ := required "security.principalsSecret.name: a secret with the file of principals; or security.listenWithoutAuthentication=true" $values.principalsSecret.name -}}
{{- $_ := required "security.clusterTokenSecret.name: a secret with a token by which nodes know each other" $values.clusterTokenSecret.name -}}
{{- end -}}
{{- if $values.principalsSecret.name -}}
{{- $_ := set $security "principals_file" (printf "/etc/tannin-principals/%s" $values.principalsSecret.key) -}}
{{- end -}}
{{- if $values.clusterTokenSecret.name -}}
{{- $_ := set $security "cluster_token_file" (printf "/etc/tannin-token/%s" $values.clusterTokenSecret.key) -}}
{{- end -}}
{{- toJson $security -}}
{{- end -}}

{{- define "tannin.hosts" -}}
{{- $hosts := .Values.allowedHosts -}}
{{- if .Values.broker.ingress.host -}}{{- $hosts = append $hosts .Values.broker.ingress.host -}}{{- end -}}
{{- $full := include "tannin.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
{{- $domain := .Values.clusterDomain -}}
{{- range $role := list "broker" "controller" -}}
{{- $name := printf "%s-%s" $full $role -}}
{{- $hosts = concat $hosts (list $name (printf "%s.%s" $name $namespace) (printf "%s.%s.svc" $name $namespace) (printf "%s.%s.svc.%s" $name $namespace $domain)) -}}
{{- end -}}
{{- toJson $hosts -}}
{{- end -}}

{{/* The pod of a role: (dict "root" . "role" "server" "own" .Values.server "ports" (dict "http" 8097)). */}}
{{- define "tannin.pod" -}}
{{- $root := .root -}}
{{- $full := include "tannin.fullname" $root -}}
{{- $drain := dig "node" "drain_seconds" 5 $root.Values.config -}}
{{- $isStateful := has .role (list "controller" "server") -}}
metadata:
  labels:
    {{- include "tannin.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .role }}
  annotations:
    # Pods start anew when their settings change.
    checksum/config: {{ include "tannin.settings" $root | sha256sum }}
    {{- with .own.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "tannin.serviceAccount" $root }}
  automountServiceAccountToken: false
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ add $drain 15 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  {{- if ne $root.Values.antiAffinity "none" }}
  affinity:
    podAntiAffinity:
      {{- if eq $root.Values.antiAffinity "required" }}
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "tannin.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ .role }}
      {{- else }}
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "tannin.selector" $root | nindent 16 }}
                app.kubernetes.io/component: {{ .role }}
      {{- end }}
  {{- end }}
  {{- with .own.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .own.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .own.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .role }}
      image: {{ printf "%s:%s" $root.Values.image.repository (default $root.Chart.AppVersion $root.Values.image.tag) | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: ["start", "--config", "/etc/tannin/tannin.toml", "--role", {{ .role | quote }}]
      env:
        - name: POD_NAME
          valueFrom: { fieldRef: { fieldPath: metadata.name } }
        - name: POD_IP
          valueFrom: { fieldRef: { fieldPath: status.podIP } }
        # What others reach this pod as: of a StatefulSet the name that it keeps.
        - name: TANNIN_NODE__ADVERTISED_HOST
          {{- if $isStateful }}
          value: "$(POD_NAME).{{ $full }}-{{ .role }}{{ if eq .role "server" }}s{{ end }}.{{ $root.Release.Namespace }}.svc.{{ $root.Values.clusterDomain }}"
          {{- else }}
          value: "$(POD_IP)"
          {{- end }}
        {{- if and (eq .role "controller") $root.Values.metastore.passwordSecret.name }}
        - name: TANNIN_METASTORE__PASSWORD
          valueFrom:
            secretKeyRef:
              {{- toYaml $root.Values.metastore.passwordSecret | nindent 14 }}
        {{- end }}
        {{- with $root.Values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $root.Values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        {{- range $name, $port := .ports }}
        - { name: {{ $name }}, containerPort: {{ $port }} }
        {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      # A server that loads many segments is alive, and not ready until it has them.
      startupProbe:
        httpGet: { path: /health, port: http }
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: { path: /health, port: http }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: { path: /ready, port: http }
        periodSeconds: 2
        timeoutSeconds: 2
      resources:
        {{- toYaml .own.resources | nindent 8 }}
      volumeMounts:
        - { name: settings, mountPath: /etc/tannin, readOnly: true }
        - { name: data, mountPath: /var/lib/tannin }
        - { name: tmp, mountPath: /tmp }
        {{- if not $root.Values.deepstore.url }}
        - { name: deepstore, mountPath: /var/lib/tannin-deepstore }
        {{- end }}
        {{- if $root.Values.deepstore.credentialsSecret.name }}
        - { name: credentials, mountPath: /etc/tannin-deepstore, readOnly: true }
        {{- end }}
        {{- if $root.Values.security.principalsSecret.name }}
        - { name: principals, mountPath: /etc/tannin-principals, readOnly: true }
        {{- end }}
        {{- if $root.Values.security.clusterTokenSecret.name }}
        - { name: cluster-token, mountPath: /etc/tannin-token, readOnly: true }
        {{- end }}
  volumes:
    - name: settings
      configMap: { name: {{ $full }} }
    # What does not fit the memory of a query.
    - name: tmp
      emptyDir: {}
    {{- if not $isStateful }}
    - name: data
      emptyDir: {{ if .own.scratch }}{ sizeLimit: {{ .own.scratch }} }{{ else }}{}{{ end }}
    {{- end }}
    {{- if not $root.Values.deepstore.url }}
    - name: deepstore
      persistentVolumeClaim:
        claimName: {{ required "deepstore.url, or deepstore.existingClaim: a claim (ReadWriteMany) that all nodes share" $root.Values.deepstore.existingClaim }}
    {{- end }}
    {{- range $name, $secret := dict "credentials" $root.Values.deepstore.credentialsSecret "principals" $root.Values.security.principalsSecret "cluster-token" $root.Values.security.clusterTokenSecret }}
    {{- if $secret.name }}
    - name: {{ $name }}
      secret:
        secretName: {{ $secret.name }}
        items: [{ key: {{ $secret.key }}, path: {{ $secret.key }} }]
    {{- end }}
    {{- end }}
{{- end -}}

{{- define "tannin.volumeClaim" -}}
- metadata:
    name: data
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .className }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ .size }}
{{- end -}}
