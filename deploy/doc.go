// Package deploy holds what runs the server elsewhere: a container image and a systemd unit. Its tests lint both.
package deploy
