package auth

import (
	"context"
	"fmt"

	"github.com/slipstream-ota/slipstream/store"
)

const auditPage = 500

// AuditReport is the outcome of a walk over the audit log. First is the entry where the chain breaks, 0 when it holds.
// Head is the hash of the newest entry: who writes it down elsewhere can prove later that nothing was cut off the end.
type AuditReport struct {
	Entries int64  `json:"entries"`
	Head    string `json:"head,omitempty"`
	Broken  int64  `json:"broken,omitempty"`
	Fault   string `json:"fault,omitempty"`
}

// OK reports whether the chain holds.
func (r AuditReport) OK() bool { return r.Fault == "" }

// VerifyAudit walks the whole audit log from its newest entry to its first and recomputes every hash. An entry that
// was altered, removed or put in between breaks the chain. head, when not "", must be the hash of one of the entries:
// else the log was cut or written anew.
func VerifyAudit(ctx context.Context, st store.Store, head string) (AuditReport, error) {
	var r AuditReport
	err := st.View(ctx, func(tx store.Tx) error {
		r = AuditReport{}
		var next *store.AuditEntry
		seen := head == ""
		before := int64(0)
		for {
			page, err := tx.Log().Audit().List(ctx, store.AuditQuery{BeforeSeq: before, Limit: auditPage})
			if err != nil {
				return err
			}
			for i := range page {
				e := &page[i]
				if next == nil {
					r.Head = e.Hash
				}
				r.Entries++
				seen = seen || e.Hash == head
				if fault := fault(e, next); fault != "" {
					r.Broken, r.Fault = e.Seq, fault // the walk goes on: the lowest broken entry is the first
				}
				next = e
			}
			if len(page) < auditPage {
				break
			}
			before = page[len(page)-1].Seq
		}
		if next != nil && (next.Seq != 1 || next.Prev != "") {
			r.Broken, r.Fault = next.Seq, "the entries before it are missing"
		}
		if !seen && r.Fault == "" {
			r.Fault = fmt.Sprintf("no entry has the hash %s: the log was cut or written anew", head)
		}
		return nil
	})
	return r, err
}

// fault says what is wrong with e, next being the entry after it.
func fault(e, next *store.AuditEntry) string {
	switch {
	case store.ChainHash(*e) != e.Hash:
		return "its fields do not give its hash: it was altered"
	case next != nil && next.Seq != e.Seq+1:
		return fmt.Sprintf("entry %d follows it: entries between are missing", next.Seq)
	case next != nil && next.Prev != e.Hash:
		return fmt.Sprintf("entry %d follows another one: it was replaced", next.Seq)
	}
	return ""
}
