// Package local starts the real servers that Backbeat runs on (MariaDB,
// PostgreSQL, Redis, RabbitMQ, etcd, an S3 service, Jaeger and Prometheus) from
// Debian packages and Go tools, without systemd or Docker.
//
// Each server is private: it has its own folder, its own ports, listens on
// 127.0.0.1 only and reads no configuration of the machine, so that it never
// meets what the machine already runs. A Start function returns once the server
// answers its own protocol. Unless Options.Detach is set, the kernel kills the
// server when the process that started it ends, however that ends.
//
// The package needs Linux. Run as root it works as well as under a user.
package local
