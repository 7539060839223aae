package manage

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store"
)

const defaultTTL = 60 * 24 * time.Hour

// reserved begins the id of a collaborator's token that nobody has the secret of yet.
const reserved = "c"

// slug is a name of ours for what people call a thing: in lower case, an @ as .at., anything else that a name may not
// have as a hyphen.
func slug(name string) string {
	var out strings.Builder
	for _, r := range strings.ReplaceAll(strings.ToLower(name), "@", ".at.") {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			out.WriteRune(r)
		} else {
			out.WriteByte('-')
		}
	}
	s := strings.TrimLeft(out.String(), "._-")
	return s[:min(len(s), slipstream.MaxNameLength)]
}

// tokenName is the name of a token for what people call it. Names that would become the same get a mark of what they were:
// whoever removes one person's key must not hit another's.
func tokenName(said string) string {
	plain := strings.ToLower(said)
	s := slug(said)
	if s == "" || s == strings.ReplaceAll(plain, "@", ".at.") {
		return s
	}
	sum := sha256.Sum256([]byte(plain))
	return s[:min(len(s), slipstream.MaxNameLength-9)] + "-" + hex.EncodeToString(sum[:4])
}

// email is how a token's name looks where an account is meant.
func email(token string) string { return strings.Replace(token, ".at.", "@", 1) }

func (s *Server) account(c call) (answer, error) {
	return ok(map[string]any{"account": map[string]any{"name": c.who.Name, "email": email(c.who.Name), "linkedProviders": []string{}}}), nil
}

// accessKey is a token in the words of the tool. Name is the secret, told once; afterwards the token's id.
type accessKey struct {
	Name         string `json:"name"`
	FriendlyName string `json:"friendlyName"`
	Description  string `json:"description"`
	CreatedBy    string `json:"createdBy"`
	CreatedTime  int64  `json:"createdTime"` // ms
	Expires      int64  `json:"expires"`     // ms
	IsSession    bool   `json:"isSession"`
}

// never is when a token without an end expires for the tool, which shows a date always.
const never = 253370764800000

func keyOf(k store.Token) accessKey {
	out := accessKey{Name: k.ID, FriendlyName: email(k.Name), Description: k.Role, CreatedBy: "slipstream", CreatedTime: k.Created.UnixMilli(), Expires: never}
	if !k.Expires.IsZero() {
		out.Expires = k.Expires.UnixMilli()
	}
	return out
}

// sees reports whether the caller may see and change a token: those of its own scope, and of members their own alone.
func (c call) sees(k store.Token) bool {
	if k.Member != "" && k.Member == c.who.Member {
		return true
	}
	return c.who.Apps.Has(k.App) && (k.Member == c.who.Member || c.who.Role.May(auth.Admit))
}

func (s *Server) listKeys(c call) (answer, error) {
	all, err := s.cfg.Tokens.List(c.ctx)
	keys := []accessKey{}
	for _, k := range all {
		if c.sees(k) && !strings.HasPrefix(k.ID, reserved) {
			keys = append(keys, keyOf(k))
		}
	}
	slices.SortStableFunc(keys, func(a, b accessKey) int { return strings.Compare(a.FriendlyName, b.FriendlyName) })
	return ok(map[string]any{"accessKeys": keys}), err
}

func (s *Server) token(c call, name string) (store.Token, error) {
	all, err := s.cfg.Tokens.List(c.ctx)
	if err != nil {
		return store.Token{}, err
	}
	for _, k := range all {
		if c.sees(k) && (k.Name == tokenName(name) || k.ID == name) {
			return k, nil
		}
	}
	return store.Token{}, fmt.Errorf("access key %q: %w", name, slipstream.ErrNotFound)
}

type keyRequest struct {
	Name         string `json:"name"`
	FriendlyName string `json:"friendlyName"`
	TTL          *int64 `json:"ttl"` // ms
}

func (k *keyRequest) expires(now time.Time, otherwise time.Duration) (time.Time, error) {
	ttl := otherwise
	if k.TTL != nil {
		if *k.TTL <= 0 || *k.TTL > int64(100*365*24*time.Hour/time.Millisecond) {
			return time.Time{}, slipstream.Invalidf("ttl %d: must be a number of milliseconds above 0 and below 100 years", *k.TTL)
		}
		ttl = time.Duration(*k.TTL) * time.Millisecond
	}
	return now.Add(ttl), nil
}

func (s *Server) addKey(c call) (answer, error) {
	var in keyRequest
	if err := c.read(&in); err != nil {
		return answer{}, err
	}
	expires, err := in.expires(s.cfg.Clock(), defaultTTL)
	if err != nil {
		return answer{}, err
	}
	k, err := s.token(c, in.FriendlyName)
	if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
		return answer{}, err
	}
	var secret string
	if err == nil && strings.HasPrefix(k.ID, reserved) {
		// The key of a collaborator who has none yet is for that app and role. Were it taken away first and made then, one that
		// failed in between would leave the next with all that the caller may do.
		k, secret, err = s.cfg.Tokens.Redeem(c.ctx, c.who.Name, k, expires)
	} else {
		k, secret, err = s.cfg.Tokens.Create(c.ctx, c.who.Name, auth.Spec{Name: tokenName(in.FriendlyName), Role: c.who.Role, App: c.who.Apps.One(), Member: c.who.Member, Expires: expires})
	}
	if err != nil {
		return answer{}, err
	}
	out := keyOf(k)
	out.Name = secret
	return answer{status: http.StatusCreated, body: map[string]any{"accessKey": out}, location: at("accessKeys", k.Name)}, nil
}

func (s *Server) showKey(c call) (answer, error) {
	k, err := s.token(c, c.PathValue("key"))
	return ok(map[string]any{"accessKey": keyOf(k)}), err
}

func (s *Server) patchKey(c call) (answer, error) {
	var in keyRequest
	if err := c.read(&in); err != nil {
		return answer{}, err
	}
	k, err := s.token(c, c.PathValue("key"))
	if err != nil {
		return answer{}, err
	}
	name, expires := k.Name, k.Expires
	if in.FriendlyName != "" {
		name = tokenName(in.FriendlyName)
	}
	if in.TTL != nil {
		if expires, err = in.expires(s.cfg.Clock(), 0); err != nil {
			return answer{}, err
		}
	}
	k, err = s.cfg.Tokens.Change(c.ctx, c.who.Name, k.ID, name, expires)
	return ok(map[string]any{"accessKey": keyOf(k)}), err
}

func (s *Server) removeKey(c call) (answer, error) {
	k, err := s.token(c, c.PathValue("key"))
	if err == nil {
		err = s.cfg.Tokens.Revoke(c.ctx, c.who.Name, k.ID, func(store.Token) error { return nil })
	}
	return answer{status: http.StatusNoContent}, err
}

func permission(role string) string {
	if auth.Role(role) == auth.Owner {
		return "Owner"
	}
	return "Collaborator"
}

// collaborators are the tokens that may publish to the app.
func (s *Server) collaborators(c call, app string) (map[string]any, error) {
	all, err := s.cfg.Tokens.List(c.ctx)
	out := map[string]any{}
	for _, k := range all {
		if (k.App == app || k.App == "") && auth.Role(k.Role).May(auth.Publish) {
			out[email(k.Name)] = map[string]any{"permission": permission(k.Role), "isCurrentAccount": k.ID == c.who.Token}
		}
	}
	return out, err
}

func (s *Server) listCollaborators(c call) (answer, error) {
	out, err := s.collaborators(c, c.app)
	return ok(map[string]any{"collaborators": out}), err
}

func (s *Server) addCollaborator(c call) (answer, error) {
	// Nobody knows its secret: `access-key add` with the same name gives one.
	_, err := s.cfg.Tokens.Reserve(c.ctx, c.who.Name, reserved, auth.Spec{Name: tokenName(c.PathValue("email")), Role: auth.Publisher, App: c.app})
	return answer{status: http.StatusCreated, location: at("apps", c.app, "collaborators", c.PathValue("email"))}, err
}

func (s *Server) removeCollaborator(c call) (answer, error) {
	k, err := s.token(c, c.PathValue("email"))
	if err == nil && k.App != c.app {
		err = slipstream.Hint(fmt.Errorf("%s is no collaborator of this app alone: %w", c.PathValue("email"), slipstream.ErrConflict), "remove the access key: access-key remove")
	}
	if errors.Is(err, slipstream.ErrNotFound) {
		err = fmt.Errorf("collaborator %q: %w", c.PathValue("email"), slipstream.ErrNotFound)
	}
	if err == nil {
		err = s.cfg.Tokens.Revoke(c.ctx, c.who.Name, k.ID, func(store.Token) error { return nil })
	}
	return answer{status: http.StatusNoContent}, err
}
