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
	maxPlaces     = 64
	maxFact       = 256 // bytes of a fact such as a model
	maxDepth      = 16
	nonceBytes    = 32
)

// checkRequest is a slipstream.CheckRequest with its packages in a list.
type checkRequest struct {
	app, channel, nonce string
	device              slipstream.DeviceFacts
	packages            []namedPackage
}

type namedPackage struct {
	name    string
	onBoard slipstream.PackageOnBoard
}

// parseCheck reads the body of a check. Names are case-sensitive, known names may not be repeated and must have their
// type; unknown ones are skipped, so that newer clients are understood. It exists beside encoding/json because half of
// a check's time would go there.
func parseCheck(body []byte, req *checkRequest) error {
	*req = checkRequest{packages: req.packages[:0]}
	if !utf8.Valid(body) {
		return refuseCheck(errors.New("the body is not UTF-8"))
	}
	c := &cursor{text: string(body)}
	err := c.object(maxDepth, func(name string) error {
		switch name {
		case "app":
			return c.textInto(&req.app)
		case "channel":
			return c.textInto(&req.channel)
		case "nonce":
			return c.textInto(&req.nonce)
		case "device":
			return c.device(&req.device)
		case "packages":
			return c.packages(&req.packages)
		}
		return errUnknown
	})
	if err == nil && !c.atEnd() {
		err = c.failure("data after the end")
	}
	if err == nil {
		err = req.check()
	}
	if err != nil {
		return refuseCheck(err)
	}
	return nil
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

func (c *cursor) packages(out *[]namedPackage) error {
	return c.object(maxDepth, func(pkg string) error {
		if len(*out) == maxPackages {
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
			case "granted":
				return c.rolloutsInto(&p.Granted)
			case "full":
				return c.rolloutsInto(&p.Full)
			}
			return errUnknown
		})
		*out = append(*out, namedPackage{pkg, p})
		return err
	})
}

// rolloutsInto reads a list of rollouts with a cap.
func (c *cursor) rolloutsInto(out *[]string) error {
	return c.array(func() error {
		var id string
		if len(*out) == maxPlaces {
			return fmt.Errorf("more than %d rollouts with a cap", maxPlaces)
		}
		err := c.textInto(&id)
		if len(id) > maxRolloutID {
			return fmt.Errorf("a rollout's id is longer than %d bytes", maxRolloutID)
		}
		*out = append(*out, id)
		return err
	})
}

// check looks at what the types do not say.
func (r *checkRequest) check() error {
	if err := errors.Join(slipstream.CheckName("app", r.app), slipstream.CheckName("channel", r.channel)); err != nil {
		return err
	}
	var nonce [nonceBytes + 1]byte
	n, err := base64.StdEncoding.Strict().Decode(nonce[:], []byte(r.nonce[:min(len(r.nonce), base64.StdEncoding.EncodedLen(nonceBytes))]))
	if err != nil || n != nonceBytes || len(r.nonce) != base64.StdEncoding.EncodedLen(nonceBytes) || strings.ContainsAny(r.nonce, "\r\n") {
		return fmt.Errorf("nonce must be the base64 of %d random bytes", nonceBytes)
	}
	d := &r.device
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
	for i := range r.packages {
		name, p := r.packages[i].name, &r.packages[i].onBoard
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
