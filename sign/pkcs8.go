package sign

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
)

// Errors of private key files.
var (
	ErrPassphraseNeeded = errors.New("the key is protected by a passphrase")
	ErrPassphraseWrong  = errors.New("the passphrase is wrong")
)

// PEM types of PKCS#8 (RFC 7468 §10, §11).
const (
	pemPlain     = "PRIVATE KEY"
	pemEncrypted = "ENCRYPTED PRIVATE KEY"
)

// Iterations of PBKDF2: what is written, and the most that is read, so that a hostile file cannot stop the tool.
const (
	writtenIterations = 600_000
	maxIterations     = 10_000_000
)

// The one scheme that is written and read: PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC, the default of `openssl pkcs8
// -topk8`. RFC 8018 appendix A, RFC 3565.
const (
	oidPBES2      = "1.2.840.113549.1.5.13"
	oidPBKDF2     = "1.2.840.113549.1.5.12"
	oidHMACSHA256 = "1.2.840.113549.2.9"
	oidAES256CBC  = "2.16.840.1.101.3.4.1.42"
)

type encryptedKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

type pbes2Params struct {
	KeyDerivation pkix.AlgorithmIdentifier
	Encryption    pkix.AlgorithmIdentifier
}

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// MarshalKey writes a private key as PKCS#8 PEM, encrypted under passphrase unless that is empty.
func MarshalKey(priv ed25519.PrivateKey, passphrase []byte) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	if len(passphrase) == 0 {
		return pem.EncodeToMemory(&pem.Block{Type: pemPlain, Bytes: der}), nil
	}
	sealed, err := encryptKey(der, passphrase)
	if err != nil {
		return nil, fmt.Errorf("encrypt key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemEncrypted, Bytes: sealed}), nil
}

func encryptKey(der, passphrase []byte) ([]byte, error) {
	random := make([]byte, 16+aes.BlockSize)
	if _, err := rand.Read(random); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	salt, iv := random[:16], random[16:]
	block, err := keyCipher(passphrase, salt, writtenIterations)
	if err != nil {
		return nil, err
	}
	pad := aes.BlockSize - len(der)%aes.BlockSize // RFC 8018 §6.1.1
	padded := append([]byte(nil), der...)
	for range pad {
		padded = append(padded, byte(pad))
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)

	null := asn1.RawValue{Tag: asn1.TagNull}
	kdf, err := algorithm(oidPBKDF2, pbkdf2Params{Salt: salt, Iterations: writtenIterations,
		PRF: pkix.AlgorithmIdentifier{Algorithm: oid(oidHMACSHA256), Parameters: null}})
	if err != nil {
		return nil, err
	}
	enc, err := algorithm(oidAES256CBC, iv)
	if err != nil {
		return nil, err
	}
	scheme, err := algorithm(oidPBES2, pbes2Params{KeyDerivation: kdf, Encryption: enc})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(encryptedKeyInfo{Algorithm: scheme, Data: padded})
}

// ParseKey reads a private key that MarshalKey or openssl wrote. Errors: ErrPassphraseNeeded when it is encrypted and
// passphrase is empty, ErrPassphraseWrong when it does not open it. A passphrase for a plain key is not used.
func ParseKey(data, passphrase []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("not a PEM file")
	}
	der := block.Bytes
	switch block.Type {
	case pemPlain:
	case pemEncrypted:
		if len(passphrase) == 0 {
			return nil, ErrPassphraseNeeded
		}
		var err error
		if der, err = decryptKey(der, passphrase); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("a PEM file of type %q instead of %q", block.Type, pemPlain)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if block.Type == pemEncrypted {
			return nil, ErrPassphraseWrong // the padding came out right by chance
		}
		return nil, fmt.Errorf("decode key: %w", err)
	}
	priv, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a key of type %T instead of Ed25519", key)
	}
	return priv, nil
}

func decryptKey(der, passphrase []byte) ([]byte, error) {
	var info encryptedKeyInfo
	var scheme pbes2Params
	var kdf pbkdf2Params
	var iv []byte
	if err := unmarshalAll(der, &info); err != nil {
		return nil, fmt.Errorf("decode encrypted key: %w", err)
	}
	if err := parameters(info.Algorithm, oidPBES2, &scheme); err != nil {
		return nil, err
	}
	if err := parameters(scheme.KeyDerivation, oidPBKDF2, &kdf); err != nil {
		return nil, err
	}
	if err := parameters(scheme.Encryption, oidAES256CBC, &iv); err != nil {
		return nil, err
	}
	switch {
	case !kdf.PRF.Algorithm.Equal(oid(oidHMACSHA256)):
		return nil, unsupported(kdf.PRF.Algorithm)
	case kdf.Iterations < 1 || kdf.Iterations > maxIterations:
		return nil, fmt.Errorf("encrypted key: %d iterations, at most %d are allowed", kdf.Iterations, maxIterations)
	case len(iv) != aes.BlockSize || len(info.Data) == 0 || len(info.Data)%aes.BlockSize != 0:
		return nil, errors.New("encrypted key: lengths do not fit AES")
	}
	block, err := keyCipher(passphrase, kdf.Salt, kdf.Iterations)
	if err != nil {
		return nil, err
	}
	out := append([]byte(nil), info.Data...)
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(out, out)
	pad := int(out[len(out)-1])
	if pad < 1 || pad > aes.BlockSize || pad > len(out) {
		return nil, ErrPassphraseWrong
	}
	for _, b := range out[len(out)-pad:] {
		if int(b) != pad {
			return nil, ErrPassphraseWrong
		}
	}
	return out[:len(out)-pad], nil
}

func keyCipher(passphrase, salt []byte, iterations int) (cipher.Block, error) {
	key, err := pbkdf2.Key(sha256.New, string(passphrase), salt, iterations, 32)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return aes.NewCipher(key)
}

func algorithm(id string, params any) (pkix.AlgorithmIdentifier, error) {
	raw, err := asn1.Marshal(params)
	return pkix.AlgorithmIdentifier{Algorithm: oid(id), Parameters: asn1.RawValue{FullBytes: raw}}, err
}

func parameters(a pkix.AlgorithmIdentifier, id string, out any) error {
	if !a.Algorithm.Equal(oid(id)) {
		return unsupported(a.Algorithm)
	}
	if err := unmarshalAll(a.Parameters.FullBytes, out); err != nil {
		return fmt.Errorf("decode encrypted key: %w", err)
	}
	return nil
}

func unmarshalAll(der []byte, out any) error {
	rest, err := asn1.Unmarshal(der, out)
	if err == nil && len(rest) > 0 {
		err = errors.New("trailing data")
	}
	return err
}

func unsupported(id asn1.ObjectIdentifier) error {
	return fmt.Errorf("encrypted key: algorithm %s is not supported, only PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC is: "+
		"convert it by `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256`", id)
}

// oid reads one of the constants above.
func oid(dotted string) asn1.ObjectIdentifier {
	var out asn1.ObjectIdentifier
	n := 0
	for _, c := range dotted + "." {
		if c == '.' {
			out, n = append(out, n), 0
			continue
		}
		n = n*10 + int(c-'0')
	}
	return out
}
