package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/minio/minio-go/v7"

	"github.com/slipstream-ota/slipstream"
)

func notFound(err error) bool {
	code := minio.ToErrorResponse(err).Code
	return code == minio.NoSuchKey || code == minio.NoSuchUpload || errors.Is(err, slipstream.ErrNotFound)
}

// explain turns the store's answers into errors of the domain with advice. No message holds a key.
func (s *Store) explain(ctx context.Context, err error) error {
	var refusal *slipstream.Refusal
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &refusal), errors.Is(err, slipstream.ErrNotFound):
		return err
	case errors.Is(err, syscall.ENOSPC):
		return slipstream.Hint(&slipstream.Refusal{Reason: slipstream.ReasonDiskFull, What: "blob", Err: err}, "make room for temporary files on this machine")
	}
	answer := minio.ToErrorResponse(err)
	switch answer.Code {
	case minio.NoSuchKey:
		return fmt.Errorf("%w: %w", slipstream.ErrNotFound, err)
	case minio.NoSuchBucket:
		return slipstream.Hint(err, "make the bucket %q at %s first, or correct the blob URL", s.bucket, s.endpoint)
	case "InvalidAccessKeyId", "XAdminUserNotFound": // the second is versitygw's
		return slipstream.Hint(err, "%s does not know the access key: check access_key or AWS_ACCESS_KEY_ID", s.endpoint)
	case "SignatureDoesNotMatch":
		return slipstream.Hint(err, "the secret key does not belong to the access key: check secret_key or AWS_SECRET_ACCESS_KEY, and the region")
	case "ExpiredToken", "InvalidToken":
		return slipstream.Hint(err, "the session token has expired: get new credentials")
	case minio.AccessDenied:
		return slipstream.Hint(err, "the credentials may not use bucket %q: they need GetObject, PutObject, DeleteObject, ListBucket and AbortMultipartUpload", s.bucket)
	case "RequestTimeTooSkewed":
		return slipstream.Hint(err, "the clock of this machine differs too much from that of %s", s.endpoint)
	case "AuthorizationHeaderMalformed", "PermanentRedirect":
		return slipstream.Hint(err, "the bucket is in another region: add region=… to the blob URL")
	case "InsufficientCapacity", "XMinioStorageFull", "QuotaExceeded":
		return slipstream.Hint(&slipstream.Refusal{Reason: slipstream.ReasonDiskFull, What: "blob", Err: err}, "the blob store is full: make room, or run `slipstream gc`")
	}
	if answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests {
		return slipstream.Hint(fmt.Errorf("%w: %w", slipstream.ErrUnavailable, err), "the blob store at %s has trouble: see its log", s.endpoint)
	}
	var wire *url.Error
	var network net.Error
	if errors.As(err, &wire) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) {
		return slipstream.Hint(fmt.Errorf("%w: %w", slipstream.ErrUnavailable, err), "the blob store does not answer at %s: is it running, and may this machine reach it?", s.endpoint)
	}
	return err
}
