package capgo

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/archive"
)

// A bundle is signed by an RSA key whose public half the app has embedded. The private operation on the SHA-256 of the plain
// zip is its checksum; the zip itself travels encrypted by AES-128-CBC under a session key that went through the same
// operation. So whoever has the app can read it: the encryption is what makes clients look at the signature.
//
// The private key stays on the publisher's machine. What it said travels in the manifest, under the key Meta, so that our
// own signature covers it; the server packs the same zip, compares, and encrypts it. The session key follows from the private
// key and the zip: publishing the same contents again finds nothing to do, and no two bundles share one.

// Meta is the key in a manifest's meta under which the signature stands.
const Meta = "capgo.signature"

const (
	keyBits     = 2048
	sessionSize = 16 // bytes of an AES-128 key, and of its first block
	keyIDLength = 20
)

// signature is what stands under Meta.
type signature struct {
	Checksum []byte `json:"checksum"` // private operation on the 32 bytes of the SHA-256
	// Older is the operation on what older clients make of the checksum: its hex digits, read as base64.
	Older  []byte `json:"older"`
	Key    []byte `json:"key"` // private operation on the session's key
	IV     []byte `json:"iv"`
	Public []byte `json:"public"` // PKCS#1

	public *rsa.PublicKey
}

// signatureIn reads the signature of a release, nil when it has none.
func signatureIn(m *slipstream.Manifest) (*signature, error) {
	raw := m.Meta[Meta]
	if raw == nil {
		return nil, nil
	}
	s := new(signature)
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, slipstream.Refuse(slipstream.ReasonMalformed, Meta, "%v", err)
	}
	var err error
	if s.public, err = x509.ParsePKCS1PublicKey(s.Public); err != nil {
		return nil, slipstream.Refuse(slipstream.ReasonMalformed, Meta, "public key: %v", err)
	}
	if len(s.IV) != sessionSize || s.public.N.BitLen() != keyBits {
		return nil, slipstream.Refuse(slipstream.ReasonMalformed, Meta, "it has a key of %d bits and a first block of %d bytes", s.public.N.BitLen(), len(s.IV))
	}
	return s, nil
}

// Sign gives what belongs under Meta for a tree of these files, signed by a private RSA key (PEM, as Capgo's own tool makes
// it). copyTo writes a file's content.
func Sign(files []slipstream.File, copyTo func(f slipstream.File, w io.Writer) error, privatePEM []byte) (json.RawMessage, error) {
	key, err := parsePrivate(privatePEM)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	if err := archive.Write(sum, entriesOf(files, copyTo)); err != nil {
		return nil, err
	}
	s, err := signatureOf(key, [32]byte(sum.Sum(nil)))
	if err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

func signatureOf(key *rsa.PrivateKey, sum [32]byte) (*signature, error) {
	derive := func(what string) []byte {
		mac := hmac.New(sha256.New, x509.MarshalPKCS1PrivateKey(key))
		fmt.Fprintf(mac, "slipstream capgo %s\n%x", what, sum)
		return mac.Sum(nil)[:sessionSize]
	}
	s := &signature{IV: derive("iv"), Public: x509.MarshalPKCS1PublicKey(&key.PublicKey), public: &key.PublicKey}
	older, err := base64.StdEncoding.DecodeString(hex.EncodeToString(sum[:]))
	if err != nil {
		return nil, err
	}
	for _, op := range []struct {
		to   *[]byte
		what []byte
	}{{&s.Checksum, sum[:]}, {&s.Older, older}, {&s.Key, derive("key")}} {
		if *op.to, err = rsa.SignPKCS1v15(nil, key, crypto.Hash(0), op.what); err != nil {
			return nil, fmt.Errorf("sign for Capgo: %w", err)
		}
	}
	return s, nil
}

// seal writes the zip of entries as clients download it and gives what is to be known of it. Without a signature it is
// the zip itself; a signature that is of another zip is refused.
func (s *signature) seal(w io.Writer, entries []archive.Entry) (rendition, error) {
	sum := sha256.New()
	if s == nil {
		err := archive.Write(io.MultiWriter(w, sum), entries)
		return rendition{Plain: slipstream.DigestOf([32]byte(sum.Sum(nil)))}, err
	}
	session, err := open(s.public, s.Key)
	if err != nil {
		return rendition{}, err
	}
	if len(session) != sessionSize {
		return rendition{}, slipstream.Refuse(slipstream.ReasonSignatureInvalid, Meta, "a session key of %d bytes", len(session))
	}
	block, err := aes.NewCipher(session)
	if err != nil {
		return rendition{}, err
	}
	sealed := &sealing{to: w, by: cipher.NewCBCEncrypter(block, s.IV)}
	if err := archive.Write(io.MultiWriter(sealed, sum), entries); err != nil {
		return rendition{}, err
	}
	if err := sealed.close(); err != nil {
		return rendition{}, err
	}
	plain := sum.Sum(nil)
	claimed, err := open(s.public, s.Checksum)
	if err != nil {
		return rendition{}, err
	}
	if !bytes.Equal(claimed, plain) {
		return rendition{}, slipstream.Hint(slipstream.Refuse(slipstream.ReasonSignatureInvalid, Meta, "it is of another zip than this server packs"),
			"publish with the version of the tool that the server has: `slipstream version` tells both")
	}
	return rendition{Plain: slipstream.DigestOf([32]byte(plain)), Checksum: s.Checksum, Older: s.Older, KeyID: keyID(s.public),
		SessionKey: base64.StdEncoding.EncodeToString(s.IV) + ":" + base64.StdEncoding.EncodeToString(s.Key)}, nil
}

// sealing encrypts what is written to it, and pads the end (PKCS#7).
type sealing struct {
	to   io.Writer
	by   cipher.BlockMode
	rest []byte
}

func (s *sealing) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	whole := len(s.rest) / aes.BlockSize * aes.BlockSize
	s.by.CryptBlocks(s.rest[:whole], s.rest[:whole])
	if _, err := s.to.Write(s.rest[:whole]); err != nil {
		return 0, err
	}
	s.rest = append(s.rest[:0], s.rest[whole:]...)
	return len(p), nil
}

func (s *sealing) close() error {
	n := aes.BlockSize - len(s.rest)%aes.BlockSize
	_, err := s.Write(bytes.Repeat([]byte{byte(n)}, n))
	return err
}

// open undoes the private operation: it gives what the key signed, by PKCS #1 v1.5 with blocks of type 1.
func open(key *rsa.PublicKey, sig []byte) ([]byte, error) {
	bad := slipstream.Refuse(slipstream.ReasonSignatureInvalid, Meta, "it does not open with the public key beside it")
	c := new(big.Int).SetBytes(sig)
	if len(sig) != key.Size() || c.Cmp(key.N) >= 0 {
		return nil, bad
	}
	block := c.Exp(c, big.NewInt(int64(key.E)), key.N).FillBytes(make([]byte, key.Size()))
	if block[0] != 0 || block[1] != 1 {
		return nil, bad
	}
	end := bytes.IndexByte(block[2:], 0)
	if end < 8 || len(bytes.Trim(block[2:2+end], "\xff")) > 0 {
		return nil, bad
	}
	return block[2+end+1:], nil
}

// keyID is how clients name the key that they have: the beginning of its PEM's body.
func keyID(key *rsa.PublicKey) string {
	return base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(key))[:keyIDLength]
}

// NewKey makes a pair as apps with Capgo take it: PEM of PKCS#1, and the id that clients name it by.
func NewKey() (private, public []byte, id string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, nil, "", fmt.Errorf("make a key: %w", err)
	}
	private = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	public = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)})
	return private, public, keyID(&key.PublicKey), nil
}

const keyHint = "make a pair by: slipstream capgo key create"

func parsePrivate(text []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, slipstream.Hint(slipstream.Invalidf("the Capgo key is no PEM"), keyHint)
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		other, ok := any.(*rsa.PrivateKey)
		if err != nil || !ok {
			return nil, slipstream.Hint(slipstream.Invalidf("the Capgo key is no private RSA key"), keyHint)
		}
		key = other
	}
	if key.N.BitLen() != keyBits {
		return nil, slipstream.Hint(slipstream.Invalidf("the Capgo key has %d bits; clients take %d", key.N.BitLen(), keyBits), keyHint)
	}
	return key, nil
}

// parsePublic reads a public key as it stands in an app's configuration, also where its line ends were lost.
func parsePublic(text string) (*rsa.PublicKey, error) {
	hint := "it is the public key as it stands in capacitor.config: -----BEGIN RSA PUBLIC KEY-----…"
	_, body, begins := strings.Cut(text, "-----BEGIN RSA PUBLIC KEY-----")
	body, _, ends := strings.Cut(body, "-----END RSA PUBLIC KEY-----")
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(strings.ReplaceAll(body, `\n`, "\n")), ""))
	if !begins || !ends || err != nil {
		return nil, slipstream.Hint(slipstream.Invalidf("publicKey is no PEM of an RSA public key"), "%s", hint)
	}
	key, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		return nil, slipstream.Hint(slipstream.Invalidf("publicKey is no public RSA key"), "%s", hint)
	}
	if key.N.BitLen() != keyBits {
		return nil, slipstream.Invalidf("publicKey has %d bits; clients take %d", key.N.BitLen(), keyBits)
	}
	return key, nil
}
