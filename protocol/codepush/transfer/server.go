package transfer

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
)

const maxAnswer = 64 << 20 // bytes of JSON

// Server is a running server with CodePush's management API.
type Server struct {
	// URL is what the command-line tool logs in to, without a slash at its end.
	URL string
	// AccessKey stands for an account; it is never sent to where packages lie.
	AccessKey string
	// HTTP is the client to use; nil takes one that waits ten minutes at most.
	HTTP *http.Client
}

func (s *Server) client() *http.Client {
	if s.HTTP != nil {
		return s.HTTP
	}
	return &http.Client{Timeout: 10 * time.Minute}
}

func (s *Server) call(ctx context.Context, method string, path []string, body io.Reader, kind string, to any) (err error) {
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL+"/"+strings.Join(path, "/"), body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.AccessKey)
	req.Header.Set("Accept", "application/vnd.code-push.v2+json")
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := s.client().Do(req)
	if err != nil {
		return slipstream.Hint(fmt.Errorf("ask %s: %w", s.URL, err), "check the address and that the server runs")
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read answer of %s: %w", s.URL, err)
	}
	if res.StatusCode/100 != 2 {
		err := fmt.Errorf("%s %s: %d %.300s", method, strings.Join(path, "/"), res.StatusCode, strings.TrimSpace(string(raw)))
		switch res.StatusCode {
		case http.StatusUnauthorized:
			return slipstream.Hint(err, "the access key is not valid there")
		case http.StatusNotFound:
			return fmt.Errorf("%w: %w", err, slipstream.ErrNotFound)
		}
		return err
	}
	if to == nil {
		return nil
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("read answer of %s: %w", s.URL, err)
	}
	return nil
}

func (s *Server) send(ctx context.Context, method string, path []string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return s.call(ctx, method, path, bytes.NewReader(raw), "application/json", nil)
}

// Read implements Source.
func (s *Server) Read(ctx context.Context, app string) (Export, error) {
	var list struct {
		Apps []struct {
			Name string `json:"name"`
		} `json:"apps"`
	}
	out := Export{Version: Version, Apps: []App{}}
	if err := s.call(ctx, http.MethodGet, []string{"apps"}, nil, "", &list); err != nil {
		return out, err
	}
	for _, a := range list.Apps {
		if app != "" && app != a.Name {
			continue
		}
		deployments, err := s.Deployments(ctx, a.Name)
		if err != nil {
			return out, err
		}
		for i := range deployments {
			d := &deployments[i]
			var h struct {
				History []Release `json:"history"`
			}
			if err := s.call(ctx, http.MethodGet, []string{"apps", a.Name, "deployments", d.Name, "history"}, nil, "", &h); err != nil {
				return out, err
			}
			d.History = h.History
		}
		out.Apps = append(out.Apps, App{Name: a.Name, Deployments: deployments})
	}
	return out.only(app)
}

// Deployments gives an app's deployments with their keys, without history.
func (s *Server) Deployments(ctx context.Context, app string) ([]Deployment, error) {
	var list struct {
		Deployments []Deployment `json:"deployments"`
	}
	err := s.call(ctx, http.MethodGet, []string{"apps", app, "deployments"}, nil, "", &list)
	return list.Deployments, err
}

// Package implements Source.
func (s *Server) Package(ctx context.Context, r Release) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.BlobURL, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	res, err := s.client().Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: %s", r.BlobURL, res.Status), res.Body.Close())
	}
	return res.Body, nil
}

func (s *Server) addApp(ctx context.Context, name string) error {
	return s.send(ctx, http.MethodPost, []string{"apps"}, map[string]any{"name": name, "manuallyProvisionDeployments": true})
}

func (s *Server) addDeployment(ctx context.Context, app, name, key string) error {
	return s.send(ctx, http.MethodPost, []string{"apps", app, "deployments"}, map[string]string{"name": name, "key": key})
}

// SetKey gives a deployment another key; a deployment that does not exist is made.
func (s *Server) SetKey(ctx context.Context, app, deployment, key string) error {
	err := s.send(ctx, http.MethodPatch, []string{"apps", app, "deployments", deployment}, map[string]string{"key": key})
	if errors.Is(err, slipstream.ErrNotFound) {
		return s.addDeployment(ctx, app, deployment, key)
	}
	return err
}

func (s *Server) upload(ctx context.Context, app, deployment string, r Release, raw []byte) error {
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	info, err := json.Marshal(r)
	if err != nil {
		return err
	}
	file, err := m.CreateFormFile("package", "package")
	if err == nil {
		_, err = file.Write(raw)
	}
	if err = errors.Join(err, m.WriteField("packageInfo", string(info)), m.Close()); err != nil {
		return fmt.Errorf("pack release: %w", err)
	}
	return s.call(ctx, http.MethodPost, []string{"apps", app, "deployments", deployment, "release"}, &body, m.FormDataContentType(), nil)
}

// NewKey makes a deployment key.
func NewKey() (string, error) {
	b := make([]byte, 20)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return hex.EncodeToString(b), nil
}
