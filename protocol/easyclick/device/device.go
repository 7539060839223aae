// Package device acts as an EasyClick host does: it reads a project's update.json, asks the server it names, downloads
// the compiled script and checks its MD5. It offers the script's own four calls: request an update, get the response,
// download, get the error text. It works against any server that follows the document.
package device

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Defaults and limits of the document.
const (
	DefaultTimeout         = 30 * time.Second // of a request, when update.json names none
	MinTimeout             = time.Second      // a shorter one is raised to it
	DefaultDownloadTimeout = 60 * time.Second
	maxConfig              = 64 << 10
	maxResponse            = 256 << 10
	// MaxFile bounds a download, in bytes: the protocol names no size.
	MaxFile = 512 << 20
)

// Config is update.json.
type Config struct {
	UpdateURL        string `json:"update_url"`
	Version          string `json:"version"`
	AppendDeviceInfo bool   `json:"appendDeviceInfo"`
	Timeout          int    `json:"timeout"` // milliseconds
}

// UnmarshalJSON also takes a version that is a number, as iOS projects have it.
func (c *Config) UnmarshalJSON(b []byte) error {
	var raw struct {
		UpdateURL        string          `json:"update_url"`
		Version          json.RawMessage `json:"version"`
		AppendDeviceInfo bool            `json:"appendDeviceInfo"`
		Timeout          int             `json:"timeout"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*c = Config{UpdateURL: raw.UpdateURL, AppendDeviceInfo: raw.AppendDeviceInfo, Timeout: raw.Timeout}
	return readVersion(raw.Version, &c.Version)
}

func readVersion(raw json.RawMessage, v *string) error {
	var n json.Number
	switch {
	case len(raw) == 0:
		return nil
	case json.Unmarshal(raw, v) == nil:
		return nil
	case json.Unmarshal(raw, &n) == nil:
		*v = n.String()
		return nil
	}
	return fmt.Errorf("version %s is neither text nor a number", raw)
}

// ReadConfig reads an update.json.
func ReadConfig(path string) (Config, error) {
	var c Config
	f, err := os.Open(path)
	if err != nil {
		return c, fmt.Errorf("open update.json: %w", err)
	}
	defer f.Close() // only read from
	raw, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return c, fmt.Errorf("read update.json: %w", err)
	}
	if len(raw) > maxConfig {
		return c, slipstream.Invalidf("%s is larger than %d bytes", path, maxConfig)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, slipstream.Hint(fmt.Errorf("%s: %w", path, err), "JSON knows no comments and no comma before a closing brace")
	}
	return c, nil
}

// Info is what a host appends to its request. Empty fields are sent empty, as hosts do.
type Info struct {
	DeviceID, ApkVersion, OSVersion, PkgName, Model, ECVersion, Brand, AndroidID string
}

func (i Info) query(version string) string {
	var b strings.Builder
	for n, p := range [][2]string{{"version", version}, {"deviceId", i.DeviceID}, {"apkVersion", i.ApkVersion}, {"osVersion", i.OSVersion}, {"pkgName", i.PkgName},
		{"model", i.Model}, {"ecVersion", i.ECVersion}, {"brand", i.Brand}, {"androidId", i.AndroidID}} {
		if n > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p[0] + "=" + url.QueryEscape(p[1]))
	}
	return b.String()
}

// Response is what a server answers when there is an update.
type Response struct {
	DownloadURL     string
	Version         string
	Dialog, Force   bool
	Msg, MD5        string
	DownloadTimeout int // seconds
}

func parseResponse(raw []byte) (Response, error) {
	var r struct {
		DownloadURL     string          `json:"download_url"`
		Version         json.RawMessage `json:"version"`
		Dialog          bool            `json:"dialog"`
		Force           bool            `json:"force"`
		Msg             string          `json:"msg"`
		MD5             string          `json:"md5"`
		DownloadTimeout int             `json:"download_timeout"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return Response{}, fmt.Errorf("the answer is no update: %w", err)
	}
	out := Response{DownloadURL: r.DownloadURL, Dialog: r.Dialog, Force: r.Force, Msg: r.Msg, MD5: strings.ToLower(r.MD5), DownloadTimeout: r.DownloadTimeout}
	if err := readVersion(r.Version, &out.Version); err != nil {
		return Response{}, err
	}
	if out.DownloadURL == "" {
		return Response{}, errors.New("the answer has no download_url")
	}
	return out, nil
}

// ErrNoUpdate says that the server has nothing newer.
var ErrNoUpdate = errors.New("no update")

// Updater is a script's hotupdater. Its methods are called from one goroutine.
type Updater struct {
	Config Config
	Info   Info
	// Dir is where downloads go.
	Dir    string
	Client *http.Client // nil means http.DefaultClient

	response string
	found    *Response
	base     *url.URL
	err      error
}

// Request is what a script may say itself; zero fields take what update.json says.
type Request struct {
	URL, Version     string
	AppendDeviceInfo *bool
	Timeout          time.Duration
}

// UpdateReq asks the server. False means that there is nothing to do, or that it failed: ErrorMsg says which.
func (u *Updater) UpdateReq(ctx context.Context, r Request) bool {
	u.response, u.found, u.err = "", nil, nil
	found, err := u.ask(ctx, r)
	if err != nil {
		u.err = err
		return false
	}
	if found == nil {
		u.err = ErrNoUpdate
		return false
	}
	u.found = found
	return true
}

// UpdateResp is the text that the server answered the last request with.
func (u *Updater) UpdateResp() string { return u.response }

// Response is the parsed answer, nil when there is no update.
func (u *Updater) Response() *Response { return u.found }

// ErrorMsg says why the last call did not give anything, "" when it did.
func (u *Updater) ErrorMsg() string {
	if u.err == nil {
		return ""
	}
	return u.err.Error()
}

// Err is ErrorMsg as an error.
func (u *Updater) Err() error { return u.err }

func (u *Updater) client() *http.Client {
	if u.Client == nil {
		return http.DefaultClient
	}
	return u.Client
}

func (u *Updater) ask(ctx context.Context, r Request) (*Response, error) {
	to, err := u.address(r)
	if err != nil {
		return nil, err
	}
	timeout := r.Timeout
	if timeout == 0 {
		timeout = time.Duration(u.Config.Timeout) * time.Millisecond
	}
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, max(timeout, MinTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("request an update: %w", err)
	}
	res, err := u.client().Do(req)
	if err != nil {
		return nil, fmt.Errorf("request an update: %w", err)
	}
	defer res.Body.Close() // only read from
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxResponse+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(raw) > maxResponse {
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxResponse)
	}
	u.response, u.base = string(raw), res.Request.URL
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %s", res.Status)
	}
	if strings.TrimSpace(u.response) == "" {
		return nil, nil
	}
	found, err := parseResponse(raw)
	return &found, err
}

// address is the URL of a request; parameters that it has already stay.
func (u *Updater) address(r Request) (*url.URL, error) {
	from, version, device := u.Config.UpdateURL, u.Config.Version, u.Config.AppendDeviceInfo
	if r.URL != "" {
		from = r.URL
	}
	if r.Version != "" {
		version = r.Version
	}
	if r.AppendDeviceInfo != nil {
		device = *r.AppendDeviceInfo
	}
	to, err := url.Parse(from)
	if err != nil || to.Scheme != "http" && to.Scheme != "https" || to.Host == "" {
		return nil, slipstream.Hint(fmt.Errorf("update_url %q is no address", from), "it looks like https://update.example.com/easyclick/shop/production/update")
	}
	if version == "" {
		return nil, slipstream.Hint(errors.New("no version to tell the server"), `update.json needs "version"`)
	}
	more := "version=" + url.QueryEscape(version)
	if device {
		more = u.Info.query(version)
	}
	if to.RawQuery != "" {
		more = to.RawQuery + "&" + more
	}
	to.RawQuery = more
	return to, nil
}

// UpdateDownload fetches what the last UpdateReq found and gives the file's path, "" when it failed: ErrorMsg says why. A
// file is only there under that path when it came whole and, where the server named an MD5, with that MD5.
func (u *Updater) UpdateDownload(ctx context.Context) string {
	path, err := u.download(ctx)
	u.err = err
	if err != nil {
		return ""
	}
	return path
}

func (u *Updater) download(ctx context.Context) (_ string, err error) {
	if u.found == nil {
		return "", errors.New("there is no update to download: ask first")
	}
	to, err := u.base.Parse(u.found.DownloadURL)
	if err != nil || !slices.Contains([]string{"http", "https"}, to.Scheme) {
		return "", fmt.Errorf("download_url %q is no address", u.found.DownloadURL)
	}
	timeout := time.Duration(u.found.DownloadTimeout) * time.Second
	if timeout <= 0 {
		timeout = DefaultDownloadTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := os.MkdirAll(u.Dir, 0o755); err != nil {
		return "", fmt.Errorf("make download folder: %w", err)
	}
	f, err := os.CreateTemp(u.Dir, ".download-*")
	if err != nil {
		return "", fmt.Errorf("make download: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	sum, err := u.fetch(ctx, to.String(), f)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	if u.found.MD5 != "" && u.found.MD5 != sum {
		return "", fmt.Errorf("the file has MD5 %s, the server says %s", sum, u.found.MD5)
	}
	path := filepath.Join(u.Dir, sum+".iec")
	if err := os.Rename(f.Name(), path); err != nil {
		return "", fmt.Errorf("place download: %w", err)
	}
	return path, nil
}

func (u *Updater) fetch(ctx context.Context, from string, f *os.File) (sum string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return "", fmt.Errorf("download: %w", err)
	}
	res, err := u.client().Do(req)
	if err != nil {
		return "", fmt.Errorf("download: %w", err)
	}
	defer res.Body.Close() // only read from
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("download: the server answered %s", res.Status)
	}
	h := md5.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(res.Body, MaxFile+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("download: %w", err)
	case n > MaxFile:
		return "", fmt.Errorf("download: more than %d bytes", MaxFile)
	case n == 0:
		return "", errors.New("download: the file is empty")
	}
	if err := f.Sync(); err != nil {
		return "", fmt.Errorf("write download: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
