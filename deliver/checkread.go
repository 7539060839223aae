package deliver

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/slipstream-ota/slipstream"
)

// Limits of one check.
const (
	maxPackages   = 64
	maxAttributes = 64
	maxRefused    = 256
	maxFact       = 256 // bytes of a fact such as a model
	maxDepth      = 16
	nonceBytes    = 32
)

// parseCheck reads the body of a check. Names are case-sensitive, known names may not be repeated and must have their
// type; unknown ones are skipped, so that newer clients are understood. It exists beside encoding/json because half of
// a check's time would go there.
func parseCheck(body []byte) (*slipstream.CheckRequest, error) {
	if !utf8.Valid(body) {
		return nil, refuseCheck(errors.New("the body is not UTF-8"))
	}
	c := &cursor{text: string(body)}
	req := new(slipstream.CheckRequest)
	err := c.object(maxDepth, func(name string) error {
		switch name {
		case "app":
			return c.textInto(&req.App)
		case "channel":
			return c.textInto(&req.Channel)
		case "nonce":
			return c.textInto(&req.Nonce)
		case "device":
			return c.device(&req.Device)
		case "packages":
			req.Packages = map[string]slipstream.PackageOnBoard{}
			return c.packages(req.Packages)
		}
		return errUnknown
	})
	if err == nil && !c.atEnd() {
		err = c.failure("data after the end")
	}
	if err == nil {
		err = checkRequest(req)
	}
	if err != nil {
		return nil, refuseCheck(err)
	}
	return req, nil
}

func refuseCheck(err error) error {
	return &slipstream.Refusal{Reason: slipstream.ReasonMalformed, What: "check", Err: err}
}

func (c *cursor) device(f *slipstream.DeviceFacts) error {
	return c.object(maxDepth, func(name string) error {
		switch name {
		case "id":
			return c.textInto(&f.ID)
		case "platform":
			return c.textInto(&f.Platform)
		case "runtime":
			return c.textInto(&f.Runtime)
		case "os":
			return c.textInto(&f.OS)
		case "model":
			return c.textInto(&f.Model)
		case "locale":
			return c.textInto(&f.Locale)
		case "attributes":
			f.Attributes = map[string]json.RawMessage{}
			return c.object(maxDepth, func(attr string) error {
				if len(f.Attributes) == maxAttributes {
					return fmt.Errorf("more than %d attributes", maxAttributes)
				}
				raw, err := c.value(maxDepth)
				f.Attributes[attr] = json.RawMessage(raw)
				return err
			})
		}
		return errUnknown
	})
}

func (c *cursor) packages(out map[string]slipstream.PackageOnBoard) error {
	return c.object(maxDepth, func(pkg string) error {
		if len(out) == maxPackages {
			return fmt.Errorf("more than %d packages", maxPackages)
		}
		var p slipstream.PackageOnBoard
		err := c.object(maxDepth, func(name string) error {
			switch name {
			case "digest":
				return c.textInto((*string)(&p.Digest))
			case "seq":
				return c.integerInto(&p.Seq)
			case "anchor":
				return c.integerInto(&p.Anchor)
			case "refused":
				return c.array(func() error {
					var d slipstream.Digest
					if len(p.Refused) == maxRefused {
						return fmt.Errorf("more than %d refused releases", maxRefused)
					}
					err := c.textInto((*string)(&d))
					p.Refused = append(p.Refused, d)
					return err
				})
			}
			return errUnknown
		})
		out[pkg] = p
		return err
	})
}

// checkRequest looks at what the types do not say.
func checkRequest(r *slipstream.CheckRequest) error {
	if err := errors.Join(slipstream.CheckName("app", r.App), slipstream.CheckName("channel", r.Channel)); err != nil {
		return err
	}
	var nonce [nonceBytes + 1]byte
	n, err := base64.StdEncoding.Strict().Decode(nonce[:], []byte(r.Nonce[:min(len(r.Nonce), base64.StdEncoding.EncodedLen(nonceBytes))]))
	if err != nil || n != nonceBytes || len(r.Nonce) != base64.StdEncoding.EncodedLen(nonceBytes) || strings.ContainsAny(r.Nonce, "\r\n") {
		return fmt.Errorf("nonce must be the base64 of %d random bytes", nonceBytes)
	}
	d := &r.Device
	if d.ID != "" && !slipstream.Digest(d.ID).Valid() {
		return errors.New("device id must be 64 lower-case hex digits")
	}
	if d.Platform != "" {
		if err := slipstream.CheckName("platform", d.Platform); err != nil {
			return err
		}
	}
	for _, fact := range [...]string{d.Runtime, d.OS, d.Model, d.Locale} {
		if len(fact) > maxFact {
			return fmt.Errorf("a fact of the device is longer than %d bytes", maxFact)
		}
	}
	for name, p := range r.Packages {
		if err := slipstream.CheckName("package", name); err != nil {
			return err
		}
		if p.Digest != "" && !p.Digest.Valid() {
			return fmt.Errorf("package %s: digest must be 64 lower-case hex digits", name)
		}
		if p.Seq < 0 || p.Anchor < 0 {
			return fmt.Errorf("package %s: seq and anchor may not be negative", name)
		}
		for _, refused := range p.Refused {
			if !refused.Valid() {
				return fmt.Errorf("package %s: refused must be digests", name)
			}
		}
	}
	return nil
}
