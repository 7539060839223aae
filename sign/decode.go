package sign

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// errCritical marks a document that needs a feature this reader does not know.
var errCritical = errors.New("the document needs what this version does not know")

// Decode reads one strict JSON value into the struct, map or slice that v points to. Beyond the rules of the package
// comment:
//
//   - a field without omitempty must be present, unless its tag says strict:"optional";
//   - an absent field keeps what its struct's [slipstream.Defaulter] set;
//   - unknown fields are checked like all others and then ignored;
//   - a name in the top level's "crit" that is not a field of v refuses the document as unknown_critical.
//
// Every other refusal is malformed. The caller caps len(data).
func Decode(data []byte, v any) error { return decodeAs("document", data, v) }

func decodeAs(what string, data []byte, v any) error {
	err := decode(data, v)
	switch {
	case errors.Is(err, errCritical):
		return &slipstream.Refusal{Reason: slipstream.ReasonUnknownCritical, What: what, Err: err}
	case err != nil:
		return &slipstream.Refusal{Reason: slipstream.ReasonMalformed, What: what, Err: err}
	}
	return nil
}

func decode(data []byte, v any) error {
	target := reflect.ValueOf(v)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return fmt.Errorf("decode into %T: not a pointer", v)
	}
	n, err := parseJSON(data)
	if err != nil {
		return err
	}
	d := &decoder{fields: map[reflect.Type][]field{}}
	target = target.Elem()
	if target.Kind() == reflect.Struct {
		// Before anything else: a document of a later version may well look malformed to this one.
		if err := checkCritical(n, d.fieldsOf(target.Type())); err != nil {
			return err
		}
	}
	return d.value(n, target)
}

// checkCritical looks at crit of documents that have it among their fields.
func checkCritical(n *node, fields []field) error {
	known := func(name string) bool {
		return slices.ContainsFunc(fields, func(f field) bool { return f.name == name })
	}
	crit := n.get("crit")
	if crit == nil || !known("crit") {
		return nil
	}
	if crit.kind != kindArray {
		return fmt.Errorf("crit: %s instead of array", crit.kind)
	}
	for _, item := range crit.items {
		if item.kind != kindString {
			return fmt.Errorf("crit: %s instead of string", item.kind)
		}
		if !known(item.text) {
			return fmt.Errorf("crit %q: %w", item.text, errCritical)
		}
	}
	return nil
}

type field struct {
	name     string
	index    int
	required bool
}

// decoder fills values of one document; fields keeps what reflection found.
type decoder struct {
	fields map[reflect.Type][]field
}

func (d *decoder) fieldsOf(t reflect.Type) []field {
	if known, ok := d.fields[t]; ok {
		return known
	}
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		optional := slices.Contains(strings.Split(options, ","), "omitempty") || f.Tag.Get("strict") == "optional"
		out = append(out, field{name: name, index: i, required: !optional})
	}
	d.fields[t] = out
	return out
}

func (d *decoder) value(n *node, v reflect.Value) error {
	if def, ok := v.Addr().Interface().(slipstream.Defaulter); ok {
		def.SetDefaults()
	}
	if u, ok := v.Addr().Interface().(json.Unmarshaler); ok {
		return u.UnmarshalJSON(n.raw)
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return d.value(n, v.Elem())
	case reflect.Struct:
		return d.object(n, v)
	case reflect.Map:
		return d.mapping(n, v)
	case reflect.Slice:
		return d.slice(n, v)
	}
	return scalar(n, v)
}

func scalar(n *node, v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		if n.kind != kindString {
			return fmt.Errorf("%s instead of string", n.kind)
		}
		v.SetString(n.text)
	case reflect.Bool:
		if n.kind != kindBool {
			return fmt.Errorf("%s instead of boolean", n.kind)
		}
		v.SetBool(n.num == 1)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n.kind != kindInteger {
			return fmt.Errorf("%s instead of integer", n.kind)
		}
		if v.OverflowInt(n.num) {
			return fmt.Errorf("integer %d is too large", n.num)
		}
		v.SetInt(n.num)
	default:
		return fmt.Errorf("no way to decode into %s", v.Type())
	}
	return nil
}

func (d *decoder) object(n *node, v reflect.Value) error {
	if n.kind != kindObject {
		return fmt.Errorf("%s instead of object", n.kind)
	}
	for _, f := range d.fieldsOf(v.Type()) {
		item := n.get(f.name)
		if item == nil {
			if f.required {
				return fmt.Errorf("%s is missing", f.name)
			}
			continue
		}
		if err := d.value(item, v.Field(f.index)); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

func (d *decoder) mapping(n *node, v reflect.Value) error {
	if n.kind != kindObject {
		return fmt.Errorf("%s instead of object", n.kind)
	}
	t := v.Type()
	if t.Key().Kind() != reflect.String {
		return fmt.Errorf("no way to decode into %s", t)
	}
	v.Set(reflect.MakeMapWithSize(t, len(n.items)))
	for i, name := range n.names {
		item := reflect.New(t.Elem()).Elem()
		if err := d.value(&n.items[i], item); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		v.SetMapIndex(reflect.ValueOf(name).Convert(t.Key()), item)
	}
	return nil
}

func (d *decoder) slice(n *node, v reflect.Value) error {
	if n.kind != kindArray {
		return fmt.Errorf("%s instead of array", n.kind)
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i := range n.items {
		if err := d.value(&n.items[i], v.Index(i)); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return nil
}
