package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/store"
)

const (
	partPatience = 5 * time.Second // for each part to answer
	maxQueued    = 100             // jobs that are described
)

// Node is what a server says of itself. Database and Blobs hold no user, password or option.
type Node struct {
	Name     string // of the machine
	Database string
	Blobs    string
	Started  time.Time
}

// ServerPart is something that the server stands on, and whether it answers.
type ServerPart struct {
	Where   string  `json:"where"`
	OK      bool    `json:"ok"`
	Seconds float64 `json:"seconds" doc:"That it took to answer"`
	Problem string  `json:"problem,omitempty"`
	Hint    string  `json:"hint,omitempty"`
}

// QueuedJob is a release whose containers from one base are still to be made.
type QueuedJob struct {
	App     string            `json:"app"`
	Package string            `json:"package"`
	Version string            `json:"version"`
	Release slipstream.Digest `json:"release"`
	// FromVersion is none for the full container.
	FromVersion string `json:"fromVersion,omitempty" doc:"Of the release that it starts from"`
	publish.Work
}

// QueueStatus is the work on containers that all nodes share.
type QueueStatus struct {
	Queued  int         `json:"queued"`
	Running int         `json:"running"`
	Again   int         `json:"again" doc:"Failed, and tried again"`
	Failed  int         `json:"failed" doc:"Failed, and given up"`
	Jobs    []QueuedJob `json:"jobs" doc:"In the order in which they run, at most 100"`
}

// ServerStatus is how the node that answers is.
type ServerStatus struct {
	Version  string      `json:"version"`
	Name     string      `json:"name"`
	Started  time.Time   `json:"started"`
	Now      time.Time   `json:"now"`
	Database ServerPart  `json:"database"`
	Blobs    ServerPart  `json:"blobs"`
	Queue    QueueStatus `json:"queue"`
}

func (s *Server) routeAbout() {
	route(s, http.MethodGet, "/server", "How the server is that answers, and what it still makes", auth.Read, s.serverStatus)
}

func (s *Server) serverStatus(ctx context.Context, _ *struct{}) (*body[ServerStatus], error) {
	if p := by(ctx); !p.Apps.All() {
		return nil, forbidden(p, auth.Read) // it tells of all apps
	}
	n := s.cfg.Node
	out := ServerStatus{Version: first(s.cfg.Version, "dev"), Name: n.Name, Started: n.Started.UTC(), Now: s.cfg.Clock().UTC()}
	out.Database = s.part(ctx, n.Database, s.cfg.Store.Ping)
	out.Blobs = s.part(ctx, n.Blobs, s.cfg.Blobs.Check)
	if !out.Database.OK {
		return answer(out, nil)
	}
	var err error
	out.Queue, err = s.queue(ctx)
	return answer(out, err)
}

func (s *Server) part(ctx context.Context, where string, ask func(context.Context) error) ServerPart {
	ctx, cancel := context.WithTimeout(ctx, partPatience)
	defer cancel()
	began := time.Now()
	err := ask(ctx)
	out := ServerPart{Where: where, OK: err == nil, Seconds: time.Since(began).Seconds()}
	if err != nil {
		out.Problem, out.Hint = err.Error(), slipstream.HintOf(err)
	}
	return out
}

func (s *Server) queue(ctx context.Context) (QueueStatus, error) {
	jobs, err := s.cfg.Store.Jobs().List(ctx, "")
	if err != nil {
		return QueueStatus{}, err
	}
	var out QueueStatus
	err = s.cfg.Store.View(ctx, func(tx store.Tx) error {
		out = QueueStatus{Jobs: []QueuedJob{}}
		known := map[slipstream.Digest]*slipstream.Manifest{}
		for _, j := range jobs {
			switch {
			case j.State == store.JobRunning:
				out.Running++
			case j.State == store.JobQueued:
				out.Queued++
			case j.Due.IsZero():
				out.Failed++
			default:
				out.Again++
			}
			if len(out.Jobs) == maxQueued {
				continue
			}
			job, err := describeJob(ctx, tx, j, known)
			if errors.Is(err, slipstream.ErrNotFound) {
				continue // deleted in between
			}
			if err != nil {
				return err
			}
			out.Jobs = append(out.Jobs, job)
		}
		return nil
	})
	return out, err
}

// describeJob names what a job is about; known are the releases that were read already.
func describeJob(ctx context.Context, tx store.Tx, j store.Job, known map[slipstream.Digest]*slipstream.Manifest) (QueuedJob, error) {
	for _, d := range []slipstream.Digest{j.Release, j.From} {
		if d == "" || known[d] != nil {
			continue
		}
		r, err := tx.Releases().Get(ctx, d)
		if err != nil {
			return QueuedJob{}, err
		}
		known[d] = r.Manifest
	}
	m := known[j.Release]
	out := QueuedJob{App: m.App, Package: m.Package, Version: m.Version, Release: j.Release, Work: workOf(j)}
	if from := known[j.From]; from != nil {
		out.FromVersion = from.Version
	}
	return out, nil
}
