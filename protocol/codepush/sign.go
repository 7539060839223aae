package codepush

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
)

// A signature is a compact JWT, {"alg":"RS256","typ":"JWT"}, over {"claimVersion":"1.0.0","contentHash":"<package hash>"}.
// It travels in the manifest, under the key Meta, so that our own signature covers it and the publisher's folder stays as
// it is; the rendition puts it where clients look for it. Without a time in it the same contents give the same token, so
// publishing them again finds nothing to do.

// Meta is the key in a manifest's meta under which the signature stands.
const Meta = "codepush.signature"

const maxToken = 8 << 10 // bytes

type claims struct {
	ClaimVersion string `json:"claimVersion"`
	ContentHash  string `json:"contentHash"`
}

func signatureIn(m *slipstream.Manifest) string {
	var token string
	if raw := m.Meta[Meta]; raw == nil || json.Unmarshal(raw, &token) != nil {
		return ""
	}
	return token
}

func inlined(path string, content []byte) packed {
	return packed{path: path, size: int64(len(content)), sha256: slipstream.DigestOf(sha256.Sum256(content)), inline: content}
}

// Sign gives what belongs under Meta for a tree of these files, signed by a private RSA key (PEM, PKCS#1 or PKCS#8).
func Sign(files []slipstream.File, privatePEM []byte) (json.RawMessage, error) {
	key, err := parsePrivate(privatePEM)
	if err != nil {
		return nil, err
	}
	list, err := layout(&slipstream.Manifest{Files: files})
	if err != nil {
		return nil, err
	}
	for _, f := range list {
		if f.path == signatureFile {
			return nil, slipstream.Hint(slipstream.Invalidf("the tree has a .codepushrelease already"), "remove that file, or publish without --codepush-key")
		}
	}
	body, err := json.Marshal(claims{ClaimVersion: "1.0.0", ContentHash: string(hashOf(list))})
	if err != nil {
		return nil, err
	}
	signed := segment([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + segment(body)
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		return nil, fmt.Errorf("sign for CodePush: %w", err)
	}
	return json.Marshal(signed + "." + segment(sig))
}

func segment(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func parsePrivate(text []byte) (*rsa.PrivateKey, error) {
	hint := "make a pair by: openssl genrsa -out private.pem 2048 && openssl rsa -pubout -in private.pem -out public.pem"
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, slipstream.Hint(slipstream.Invalidf("the CodePush key is no PEM"), "%s", hint)
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := any.(*rsa.PrivateKey)
	if err != nil || !ok {
		return nil, slipstream.Hint(slipstream.Invalidf("the CodePush key is no private RSA key"), "%s", hint)
	}
	return key, nil
}

func parsePublic(text string) (*rsa.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, slipstream.Hint(slipstream.Invalidf("signingKey is no PEM"), "it is the public key as it stands in the app: -----BEGIN PUBLIC KEY-----…")
	}
	any, err := x509.ParsePKIXPublicKey(block.Bytes)
	key, ok := any.(*rsa.PublicKey)
	if err != nil || !ok {
		return nil, slipstream.Invalidf("signingKey is no public RSA key")
	}
	return key, nil
}

// contentHash is what a token claims, whoever signed it.
func contentHash(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 {
		return "", slipstream.Refuse(slipstream.ReasonSignatureInvalid, signatureFile, "it is no token of three parts")
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	var c claims
	if err == nil {
		err = json.Unmarshal(body, &c)
	}
	if err != nil {
		return "", slipstream.Refuse(slipstream.ReasonSignatureInvalid, signatureFile, "its claims cannot be read: %v", err)
	}
	return c.ContentHash, nil
}

// verify checks that key signed a package with this hash.
func verify(token string, hash slipstream.Digest, key *rsa.PublicKey) error {
	claimed, err := contentHash(token)
	if err != nil {
		return err
	}
	if claimed != string(hash) {
		return slipstream.Refuse(slipstream.ReasonSignatureInvalid, signatureFile, "it is of other contents")
	}
	at := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[at+1:])
	if err != nil {
		return slipstream.Refuse(slipstream.ReasonSignatureInvalid, signatureFile, "%v", err)
	}
	head, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	var header struct {
		Alg string `json:"alg"`
	}
	if err != nil || json.Unmarshal(raw, &header) != nil || header.Alg != "RS256" {
		return slipstream.Refuse(slipstream.ReasonSignatureInvalid, signatureFile, "it is not signed by RS256")
	}
	sum := sha256.Sum256([]byte(token[:at]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig); err != nil {
		return slipstream.Hint(slipstream.Refuse(slipstream.ReasonSignatureInvalid, signatureFile, "it is not signed by the key that the apps have"), "sign by the private key of the pair whose public key is the option signingKey")
	}
	return nil
}

// tokenOf is the signature in a package, "" when it has none.
func tokenOf(ctx context.Context, blobs blob.Store, files []packed) (_ string, err error) {
	for i := range files {
		f := &files[i]
		if f.path != signatureFile {
			continue
		}
		if f.size > maxToken {
			return "", slipstream.Refuse(slipstream.ReasonTooLarge, signatureFile, "%d bytes", f.size)
		}
		r, err := f.open(ctx, blobs)
		if err != nil {
			return "", err
		}
		defer func() { _ = r.Close() }() // only read from
		token, err := io.ReadAll(io.LimitReader(r, maxToken))
		if err != nil {
			return "", fmt.Errorf("read %s: %w", f.path, err)
		}
		return string(bytes.TrimSpace(token)), nil
	}
	return "", nil
}
