// Package ship tests what deploy/ hands to those who run Backbeat for others, on a
// machine without Docker or Kubernetes: compose.yaml and k8s/ are read by their own
// types and schemas (test/tools/manifests) and compared with the code; nginx.conf is
// tested by running it, here and under the whole of test/e2e; every container's
// command runs as the image would run it, by an ordinary user on a read-only root; and
// a real Prometheus watches a cluster with the shipped alerts and dashboards, in health
// and under faults.
package ship
