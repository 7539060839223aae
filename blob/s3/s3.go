// Package s3 keeps blobs in a bucket of any S3-compatible store, under <prefix>/ab/<sha256>.
//
// A blob is read once into a spool, where its size and hash are checked, and only then sent: nothing unverified reaches
// the bucket, what is sent can be sent again, and memory stays bounded. S3 shows an object only when it is complete.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
)

const (
	// spoolInMemory is the size up to which a blob is spooled in memory instead of a temporary file.
	spoolInMemory = 1 << 20
	// partSize is what large blobs are sent in; S3 allows 10,000 parts.
	partSize = 16 << 20
	// maxCopy is the greatest object that S3 copies in one request.
	maxCopy = 5 << 30
	// retries is how often a request is sent before it counts as failed.
	retries = 4
	// staleAfter is the age at which an unfinished upload is garbage.
	staleAfter = 24 * time.Hour

	spoolName   = "slipstream-spool-*"
	contentType = "application/octet-stream"
)

// Options are what a URL should not have to carry. The URL's own access_key, secret_key and session_token win.
type Options struct {
	AccessKey, SecretKey, SessionToken string
	TempDir                            string // for spools; "" is the system's
}

// Store is a blob.Store in a bucket.
type Store struct {
	client   *minio.Client
	bucket   string
	prefix   string // "" or ending in "/"
	endpoint string
	tempDir  string
}

var _ blob.Store = (*Store)(nil)

// Open reads a URL of the form
//
//	s3://bucket/prefix?endpoint=https://host:port&region=…&access_key=…&secret_key=…&session_token=…&credentials=iam
//
// All parameters may be absent: the endpoint is Amazon's, credentials come from o, and credentials=iam asks the machine's
// metadata service for them. Open does not connect; Check does.
func Open(_ context.Context, rawURL string, o Options) (*Store, error) {
	const form = "it looks like s3://bucket/prefix?endpoint=https://host:port&region=eu-central-1"
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "s3" || u.Host == "" {
		// The URL may hold a secret, so it is not repeated.
		return nil, slipstream.Hint(errors.New("blob URL is not of the form s3://bucket/…"), form)
	}
	if err := s3utils.CheckValidBucketName(u.Host); err != nil {
		return nil, slipstream.Hint(fmt.Errorf("blob URL: bucket %q: %w", u.Host, err), form)
	}
	q := u.Query()
	for name := range q {
		if !slices.Contains([]string{"endpoint", "region", "access_key", "secret_key", "session_token", "credentials"}, name) {
			return nil, slipstream.Hint(fmt.Errorf("blob URL: unknown parameter %q", name), form)
		}
	}
	endpoint, err := parseEndpoint(q.Get("endpoint"))
	if err != nil {
		return nil, slipstream.Hint(err, form)
	}
	creds, err := pickCredentials(q, o)
	if err != nil {
		return nil, err
	}
	if o.TempDir != "" {
		if err := os.MkdirAll(o.TempDir, 0o700); err != nil {
			return nil, fmt.Errorf("make folder for spools: %w", err)
		}
	}
	region := q.Get("region")
	if region == "" && q.Has("endpoint") {
		region = "us-east-1" // what stores that know no regions expect
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: creds, Secure: endpoint.Scheme == "https", Region: region, MaxRetries: retries,
	})
	if err != nil {
		return nil, slipstream.Hint(fmt.Errorf("blob URL: %w", err), form)
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		prefix += "/"
	}
	return &Store{client: client, bucket: u.Host, prefix: prefix, endpoint: endpoint.String(), tempDir: o.TempDir}, nil
}

func parseEndpoint(s string) (*url.URL, error) {
	if s == "" {
		s = "https://s3.amazonaws.com"
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return nil, fmt.Errorf("blob URL: endpoint must be http://host:port or https://host:port")
	}
	return u, nil
}

func pickCredentials(q url.Values, o Options) (*credentials.Credentials, error) {
	if q.Get("credentials") == "iam" {
		return credentials.NewIAM(""), nil
	}
	if q.Has("access_key") || q.Has("secret_key") {
		o.AccessKey, o.SecretKey, o.SessionToken = q.Get("access_key"), q.Get("secret_key"), q.Get("session_token")
	}
	if o.AccessKey == "" || o.SecretKey == "" {
		return nil, slipstream.Hint(errors.New("no credentials for the blob store"),
			"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or add credentials=iam to the blob URL to use the machine's role")
	}
	return credentials.NewStaticV4(o.AccessKey, o.SecretKey, o.SessionToken), nil
}

func (s *Store) key(d slipstream.Digest) string { return s.prefix + string(d[:2]) + "/" + string(d) }

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, digest slipstream.Digest, size int64, r io.Reader) error {
	if err := blob.CheckDigest(digest); err != nil {
		return err
	}
	if err := s.put(ctx, digest, size, r); err != nil {
		return fmt.Errorf("put blob %s: %w", digest.Short(), s.explain(ctx, err))
	}
	return nil
}

func (s *Store) put(ctx context.Context, digest slipstream.Digest, size int64, r io.Reader) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	before, err := s.stat(ctx, digest)
	if err != nil && !notFound(err) {
		return err
	}
	content, discard, err := s.spool(ctx, digest, size, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, discard()) }()
	if before.Size == size && !before.Modified.IsZero() && s.renew(ctx, before) {
		return nil
	}
	return s.send(ctx, digest, size, content)
}

// send uploads verified content. In one request the store compares the hash itself (x-amz-content-sha256).
func (s *Store) send(ctx context.Context, digest slipstream.Digest, size int64, content io.Reader) error {
	opts := minio.PutObjectOptions{ContentType: contentType, PartSize: partSize, NumThreads: 2}
	if size > partSize {
		_, err := s.client.PutObject(ctx, s.bucket, s.key(digest), content, size, opts)
		return err
	}
	opts.DisableContentSha256 = true // of the chunks one by one; the hash of the whole is signed instead
	_, err := minio.Core{Client: s.client}.PutObject(ctx, s.bucket, s.key(digest), content, size, "", string(digest), opts)
	return err
}

// renew gives what is stored already a new time without sending it, by copying it onto itself. It reports whether that
// worked: some stores keep the old time, and none copies more than 5 GiB in one request.
func (s *Store) renew(ctx context.Context, before blob.Info) bool {
	if before.Size > maxCopy {
		return false
	}
	key := s.key(before.Digest)
	if _, err := s.client.CopyObject(ctx,
		minio.CopyDestOptions{Bucket: s.bucket, Object: key, ReplaceMetadata: true, ContentType: contentType},
		minio.CopySrcOptions{Bucket: s.bucket, Object: key}); err != nil {
		return false
	}
	after, err := s.stat(ctx, before.Digest)
	return err == nil && after.Size == before.Size && after.Modified.After(before.Modified)
}

// spool gives the verified content, to be read from any place and again, and the function that throws it away.
func (s *Store) spool(ctx context.Context, digest slipstream.Digest, size int64, r io.Reader) (io.Reader, func() error, error) {
	if size <= spoolInMemory {
		buf := bytes.NewBuffer(make([]byte, 0, max(size, 0)))
		if err := blob.CopyVerified(ctx, buf, r, digest, size); err != nil {
			return nil, nil, err
		}
		return bytes.NewReader(buf.Bytes()), func() error { return nil }, nil
	}
	f, err := os.CreateTemp(s.tempDir, spoolName)
	if err != nil {
		return nil, nil, fmt.Errorf("make spool: %w", err)
	}
	discard := func() error { return errors.Join(f.Close(), os.Remove(f.Name())) }
	err = blob.CopyVerified(ctx, f, r, digest, size)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, nil, errors.Join(err, discard())
	}
	return f, discard, nil
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, digest slipstream.Digest) (blob.Info, error) {
	info, err := s.stat(ctx, digest)
	if err != nil {
		return blob.Info{}, fmt.Errorf("stat blob %s: %w", digest.Short(), s.explain(ctx, err))
	}
	return info, nil
}

func (s *Store) stat(ctx context.Context, digest slipstream.Digest) (blob.Info, error) {
	if err := ctx.Err(); err != nil {
		return blob.Info{}, err
	}
	if !digest.Valid() {
		return blob.Info{}, slipstream.ErrNotFound
	}
	info, err := s.client.StatObject(ctx, s.bucket, s.key(digest), minio.StatObjectOptions{})
	if err != nil {
		return blob.Info{}, err
	}
	return blob.Info{Digest: digest, Size: info.Size, Modified: info.LastModified}, nil
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, digest slipstream.Digest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !digest.Valid() {
		return nil
	}
	err := s.client.RemoveObject(ctx, s.bucket, s.key(digest), minio.RemoveObjectOptions{})
	if err != nil && !notFound(err) {
		return fmt.Errorf("delete blob %s: %w", digest.Short(), s.explain(ctx, err))
	}
	return nil
}

// List implements blob.Store. Uploads in parts that were never finished, and spools that a killed process left, are
// removed when they are older than a day.
func (s *Store) List(ctx context.Context, fn func(blob.Info) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.sweepSpools(); err != nil {
		return fmt.Errorf("remove stale spools: %w", err)
	}
	if err := s.sweep(ctx); err != nil {
		return fmt.Errorf("abort stale uploads: %w", s.explain(ctx, err))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range s.client.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix, Recursive: true}) {
		if o.Err != nil {
			return fmt.Errorf("list blobs: %w", s.explain(ctx, o.Err))
		}
		d := slipstream.Digest(o.Key[strings.LastIndexByte(o.Key, '/')+1:])
		if !d.Valid() || o.Key != s.key(d) {
			continue
		}
		if err := fn(blob.Info{Digest: d, Size: o.Size, Modified: o.LastModified}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *Store) sweep(ctx context.Context) error {
	core := minio.Core{Client: s.client}
	old := time.Now().Add(-staleAfter)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for u := range s.client.ListIncompleteUploads(ctx, s.bucket, s.prefix, true) {
		// Some stores know no list of uploads, or have none when nothing is in it.
		if code := minio.ToErrorResponse(u.Err).Code; code == "NotImplemented" || code == "MethodNotAllowed" || code == minio.NoSuchUpload {
			return nil
		}
		if u.Err != nil {
			return u.Err
		}
		if u.Initiated.After(old) {
			continue
		}
		if err := core.AbortMultipartUpload(ctx, s.bucket, u.Key, u.UploadID); err != nil && !notFound(err) {
			return err
		}
	}
	return nil
}

func (s *Store) sweepSpools() error {
	dir := s.tempDir
	if dir == "" {
		dir = os.TempDir()
	}
	stale, err := filepath.Glob(filepath.Join(dir, spoolName))
	if err != nil {
		return err
	}
	for _, path := range stale {
		info, err := os.Lstat(path)
		if err != nil || time.Since(info.ModTime()) < staleAfter {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			return err // another user's spool in a shared folder is that user's
		}
	}
	return nil
}

// Check implements blob.Store by listing at most one object; it makes nothing.
func (s *Store) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range s.client.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix, MaxKeys: 1}) {
		if o.Err != nil {
			return fmt.Errorf("check bucket %s: %w", s.bucket, s.explain(ctx, o.Err))
		}
		break
	}
	return ctx.Err()
}
