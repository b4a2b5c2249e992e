//! The node agent: what the kubelet is to Kubernetes.
