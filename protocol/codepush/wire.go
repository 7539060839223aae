package codepush

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/codepush/semver"
)

const (
	maxQuery  = 8 << 10  // bytes
	maxBody   = 10 << 10 // bytes
	maxText   = 256      // bytes of a version or a client's id
	maxFields = 64
)

// query is an update check. What is absent is "", as the older clients send it.
type query struct {
	key     string
	said    string // the version as the client says it
	version semver.Version
	hash    slipstream.Digest
	label   string
	client  string
	// companion asks whatever the version: an app that shows others.
	companion bool
}

// parseQuery reads either spelling of each parameter.
func parseQuery(raw string) (query, error) {
	if len(raw) > maxQuery {
		return query{}, slipstream.Invalidf("a query of %d bytes", len(raw))
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return query{}, slipstream.Invalidf("the query: %v", err)
	}
	get := func(names ...string) string {
		for _, n := range names {
			if v := strings.TrimSpace(values.Get(n)); v != "" {
				return v
			}
		}
		return ""
	}
	q := query{key: get("deployment_key", "deploymentKey"), said: get("app_version", "appVersion"), hash: slipstream.Digest(get("package_hash", "packageHash")),
		label: get("label"), client: get("client_unique_id", "clientUniqueId"), companion: get("is_companion", "isCompanion") == "true"}
	if !validKey(q.key) {
		return q, slipstream.Invalidf("An update check must include a valid deployment key.")
	}
	var ok bool
	if q.version, ok = semver.Parse(semver.Pad(q.said)); !ok || len(q.said) > maxText {
		return q, slipstream.Invalidf("An update check must include an app version that is semver compliant.")
	}
	if len(q.client) > maxText || len(q.label) > maxText || len(q.hash) > maxText {
		return q, slipstream.Invalidf("A parameter is too long.")
	}
	return q, nil
}

// updateInfo is an answer in the current dialect; the order of the fields is the original's.
type updateInfo struct {
	DownloadURL            string            `json:"download_url"`
	Description            string            `json:"description"`
	IsAvailable            bool              `json:"is_available"`
	IsMandatory            bool              `json:"is_mandatory"`
	AppVersion             string            `json:"app_version"`
	PackageHash            slipstream.Digest `json:"package_hash"`
	Label                  string            `json:"label"`
	PackageSize            int64             `json:"package_size"`
	UpdateAppVersion       bool              `json:"update_app_version"`
	ShouldRunBinaryVersion bool              `json:"should_run_binary_version"`
	TargetBinaryRange      string            `json:"target_binary_range"`
}

// legacyInfo is the same in the older dialect, where one field kept the newer spelling.
type legacyInfo struct {
	DownloadURL            string            `json:"downloadURL"`
	Description            string            `json:"description"`
	IsAvailable            bool              `json:"isAvailable"`
	IsMandatory            bool              `json:"isMandatory"`
	AppVersion             string            `json:"appVersion"`
	PackageHash            slipstream.Digest `json:"packageHash"`
	Label                  string            `json:"label"`
	PackageSize            int64             `json:"packageSize"`
	UpdateAppVersion       bool              `json:"updateAppVersion"`
	ShouldRunBinaryVersion bool              `json:"shouldRunBinaryVersion"`
	TargetBinaryRange      string            `json:"target_binary_range"`
}

func (u updateInfo) encode(legacy bool) ([]byte, error) {
	if legacy {
		return json.Marshal(struct {
			Info legacyInfo `json:"updateInfo"`
		}{legacyInfo(u)})
	}
	return json.Marshal(struct {
		Info updateInfo `json:"update_info"`
	}{u})
}

// Statuses of a deploy report.
const (
	statusSucceeded  = "DeploymentSucceeded"
	statusFailed     = "DeploymentFailed"
	statusDownloaded = "Downloaded"
)

// told is what a client reports. A report without a label is of the version in the app's binary.
type told struct {
	key, client, label, status, version string
	// previous is the label or app version before, of the deployment with the key previousKey.
	previous, previousKey string
}

// parseReport reads either spelling of each field. What is no text counts as absent.
func parseReport(body []byte, download bool) (told, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil || raw == nil || len(raw) > maxFields {
		return told{}, slipstream.Invalidf("The body is not a JSON object.")
	}
	get := func(names ...string) string {
		for _, n := range names {
			var v string
			if text, ok := raw[n]; ok && json.Unmarshal(text, &v) == nil && strings.TrimSpace(v) != "" {
				return strings.TrimSpace(v)
			}
		}
		return ""
	}
	t := told{key: get("deployment_key", "deploymentKey"), client: get("client_unique_id", "clientUniqueId"), label: get("label"), status: get("status"),
		version: get("app_version", "appVersion"), previous: get("previous_label_or_app_version", "previousLabelOrAppVersion"),
		previousKey: get("previous_deployment_key", "previousDeploymentKey")}
	for _, v := range []string{t.client, t.label, t.version, t.previous} {
		if len(v) > maxText || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return t, slipstream.Invalidf("A field is too long or holds control characters.")
		}
	}
	switch {
	case !validKey(t.key):
		return t, slipstream.Invalidf("A status report must contain a valid deployment key.")
	case download && t.label == "":
		return t, slipstream.Invalidf("A download status report must contain a package label.")
	case download:
		t.status = statusDownloaded
	case t.version == "":
		return t, slipstream.Invalidf("A deploy status report must contain a valid appVersion.")
	case t.label != "" && t.status != statusSucceeded && t.status != statusFailed && t.status != statusDownloaded:
		return t, slipstream.Invalidf("Invalid status: it is %s, %s or %s.", statusSucceeded, statusFailed, statusDownloaded)
	}
	return t, nil
}
