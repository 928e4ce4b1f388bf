// Package packaging checks what is shipped beside the program: the sample
// configuration, the systemd unit and its hardening, the deb and the rpm, and the
// configurations for nginx and HAProxy, with the real programs in front of the real
// server.
//
// It needs Debian's packages systemd, nginx-light, haproxy and rpm.
package packaging
