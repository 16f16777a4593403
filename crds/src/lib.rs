//! Heddle's resource types, their admission, and the Kubernetes-style API that keeps them
