package easyclick

import (
	"encoding/json"
	"testing"
)

// FuzzRequest: whatever a stranger asks ends in a refusal or in facts that stand within the limits.
func FuzzRequest(f *testing.F) {
	f.Add("version=1.0.0")
	f.Add("version=1&deviceId=7521e5d9eeec4f58b71dea8b78c414d5&osVersion=12 &pkgName=com.gibb.easyclick")
	f.Add("version=7&ecid=1&systemVersion=17.1&serialNo=x")
	f.Add("version=%zz&;=&&&=")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := parseRequest(query)
		if err != nil {
			return
		}
		if q.version == "" || len(q.version) > maxVersion {
			t.Fatalf("version %q", q.version)
		}
		facts := q.facts("shop")
		if facts.ID != "" && len(facts.ID) != 64 || facts.Platform != "android" && facts.Platform != "ios" {
			t.Fatalf("facts %+v", facts)
		}
		for name, raw := range facts.Attributes {
			if !json.Valid(raw) || len(raw) > 8*maxParameter {
				t.Fatalf("attribute %s is %s", name, raw)
			}
		}
	})
}
