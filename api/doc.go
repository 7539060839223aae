// Package api is the management surface: the HTTP API under /v1/admin with its OpenAPI document, and the Go client that
// the command uses. Handlers translate; what they ask for is done by packages rollout, auth and publish.
package api
