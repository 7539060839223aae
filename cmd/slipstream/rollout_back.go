//go:build !device

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/sign"
)

func newWithdrawCommand(t *tool) *cobra.Command {
	var a at
	var w api.Withdraw
	c := &cobra.Command{
		Use: "withdraw RELEASE", Short: "Make devices leave a release at their next check", Args: exactly(1, "one release"),
		Long: `Withdraw makes devices leave a release, named by version, package@version or digest, at their next check. They go to
what the channel offers beneath it where a signed fallback edge leads there, else to what they hold, else to the
embedded release. It is no ban for ever: --undo takes it back.`,
		Example: "  slipstream withdraw 1.4.0 --reason 'basket loses items'\n  slipstream withdraw 1.4.0 --undo",
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			w.Package, w.Release = a.pkg, args[0]
			done, err := server.Withdraw(c.Context(), a.app, a.channel, w)
			if err != nil {
				return fmt.Errorf("withdraw: %w", err)
			}
			text := "version " + args[0] + " is withdrawn"
			if w.Undo {
				text = "version " + args[0] + " is no longer withdrawn"
			}
			return t.tell(a, done, text)
		},
	}
	c.Flags().StringVar(&w.Platform, "platform", "", "only on this platform (default: the release's)")
	c.Flags().StringVar(&w.Reason, "reason", "", "why, for people and the audit log")
	c.Flags().BoolVar(&w.Undo, "undo", false, "take the withdrawal back")
	t.packageFlags(c, &a)
	return c
}

// backFlags are the flags of rollback.
type backFlags struct {
	api.Rollback
	republish bool
	version   string
	root      string
	minSeq    int64
	keys      []string
}

func newRollbackCommand(t *tool) *cobra.Command {
	var a at
	var f backFlags
	c := &cobra.Command{
		Use: "rollback", Short: "Put an earlier release in force and withdraw every newer one", Args: exactly(0, "no argument"),
		Long: `Rollback puts an earlier release in force, the one before the newest unless --to names another, and in the same epoch
withdraws every newer one that this channel offered for that platform and runtime. It needs signed fallback edges from
those to the target; publish writes them for the last ten releases that fit. To any other release the way back is
--republish: its tree, unchanged, under a new seq, signed by your release key.`,
		Example: "  slipstream rollback --reason 'login fails'\n  slipstream rollback --to 1.2.0\n  slipstream rollback --republish --to 0.9.0",
		RunE: func(c *cobra.Command, _ []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			if f.republish {
				return t.republish(c.Context(), server, a, f)
			}
			f.Package = a.pkg
			done, err := server.Rollback(c.Context(), a.app, a.channel, f.Rollback)
			if err != nil {
				return fmt.Errorf("roll back: %w", err)
			}
			return t.print(done, func(w io.Writer) {
				fmt.Fprintf(w, "Version %s of package %s is in force on %s (rollout %s, epoch %d)\n", done.Rollout.Version, a.pkg, a.channel, done.Rollout.ID, done.Epoch)
				for _, x := range done.Withdrawn {
					fmt.Fprintf(w, "  withdrawn: %s (seq %d)\n", x.Version, x.Seq)
				}
				t.warn(done.Warnings)
			})
		},
	}
	c.Flags().StringVar(&f.To, "to", "", "release to go back to: version, package@version or digest")
	c.Flags().StringVar(&f.Platform, "platform", "", "only on this platform (default: the release's)")
	c.Flags().StringVar(&f.Reason, "reason", "", "why, for people and the audit log")
	c.Flags().BoolVar(&f.republish, "republish", false, "publish the old tree again under a new seq")
	c.Flags().StringVar(&f.version, "version", "", "version of what --republish publishes (default: the old one + -again.SEQ)")
	c.Flags().StringArrayVar(&f.keys, "key", nil, "private release key file for --republish (repeatable; default as for publish)")
	c.Flags().Int64Var(&f.minSeq, "min-seq", 0, "give what --republish publishes at least this number")
	t.rootFlag(c, &f.root)
	t.packageFlags(c, &a)
	return c
}

// isNamed refuses a release that is not the one that ref asks for: a version of pkg, package@version, or a digest's first
// digits.
func isNamed(ref, pkg string, digest slipstream.Digest, m *slipstream.Manifest) error {
	byVersion := ref == m.Package+"@"+m.Version || ref == m.Version && m.Package == pkg
	byDigest := len(ref) >= 8 && strings.HasPrefix(string(digest), ref)
	if byVersion || byDigest {
		return nil
	}
	return slipstream.Refuse(slipstream.ReasonManifestMismatch, "release "+ref, "the server gave %s %s (%s) instead", m.Package, m.Version, digest.Short())
}

// republish commits the tree of an old release, whose contents the server has, under a new seq.
func (t *tool) republish(ctx context.Context, server *api.Client, a at, f backFlags) error {
	if f.To == "" {
		return usageError{slipstream.Hint(errors.New("which release?"), "name it by --to VERSION")}
	}
	ref := f.To
	if !slipstream.Digest(ref).Valid() {
		ref = a.pkg + "@" + f.To
	}
	r, err := server.Release(ctx, a.app, ref)
	if notFound(err) {
		r, err = server.Release(ctx, a.app, f.To)
	}
	if err != nil {
		return fmt.Errorf("read release %s: %w", f.To, err)
	}
	signers, err := t.releaseSigners(a.app, f.keys)
	if err != nil {
		return err
	}
	keys, err := t.keyring(a.app, f.root, signers)
	if err != nil {
		return err
	}
	if keys, err = keys.Follow(ctx, server, a.app); err != nil {
		return err
	}
	// The server may have made the release up, or given another one than was asked for.
	old, err := keys.Open(a.app, r)
	if err != nil {
		return fmt.Errorf("publish %s again: %w", f.To, err)
	}
	if err := isNamed(f.To, a.pkg, r.Digest, old); err != nil {
		return err
	}
	again := publish.Again{Version: f.version, MinSeq: f.minSeq, Keys: keys, Seqs: t.seqs(a.app)}
	target := publish.Target{App: a.app, Package: old.Package, Platform: old.Platform, Channel: a.channel, Runtime: old.Runtime}
	for n := 0; ; n++ {
		standing, err := server.Standing(ctx, target)
		if err != nil {
			return fmt.Errorf("read how things stand: %w", err)
		}
		m, e, err := publish.Republish(ctx, server, r, standing, again, signers, time.Now())
		if err != nil {
			return fmt.Errorf("publish %s again: %w", f.To, err)
		}
		res, err := server.Commit(ctx, publish.CommitRequest{App: a.app, Manifest: e.Encode(), Notes: f.Reason,
			Rollout: &publish.NewRollout{Channel: a.channel, To: slipstream.FullShare}})
		if errors.Is(err, publish.ErrSeqTaken) && n < 3 {
			continue
		}
		if err != nil {
			return fmt.Errorf("publish %s again as %s (seq %d): %w", f.To, m.Version, m.Seq, err)
		}
		digest := sign.DigestOf(e.Payload)
		if res.Digest != digest {
			return slipstream.Refuse(slipstream.ReasonManifestMismatch, "answer", "the server says that it committed %s, signed was %s", res.Digest.Short(), digest.Short())
		}
		res.Seq = m.Seq
		return t.print(res, func(w io.Writer) {
			fmt.Fprintf(w, "Version %s is published again as %s (seq %d, %s) and offered on %s\n", old.Version, m.Version, m.Seq, digest.Short(), a.channel)
			fmt.Fprintf(w, "  %d files, %s, %d ways back\n", len(m.Files), formatBytes(m.Size()), len(m.Fallback))
			t.warn(res.Warnings)
		})
	}
}

func newPromoteCommand(t *tool) *cobra.Command {
	var a at
	var p api.Promote
	var share, control string
	c := &cobra.Command{
		Use: "promote FROM TO", Short: "Offer on a channel what another one has in force", Args: exactly(2, "two channels"),
		Long: `Promote starts, on channel TO, a rollout of every release that channel FROM has in force for the package: one per
platform and runtime, the topmost. A rollout for some devices only stays one: its conditions go with it, and the answer
says so. The releases are the same, byte for byte; nothing is built or signed again.`,
		Example: "  slipstream promote beta production --share 10%",
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			to, err := publish.ParseShare(share)
			if err != nil {
				return usageError{err}
			}
			if p.Control, err = parseControl(control); err != nil {
				return err
			}
			p.Package, p.From, p.To = a.pkg, args[0], &to
			a.channel = args[1]
			list, err := server.Promote(c.Context(), a.app, a.channel, p)
			if err != nil {
				return fmt.Errorf("promote: %w", err)
			}
			return t.print(list, func(w io.Writer) {
				for _, d := range list {
					fmt.Fprintf(w, "Version %s of package %s is offered on %s (rollout %s, epoch %d)\n", d.Rollout.Version, a.pkg, a.channel, d.Rollout.ID, d.Epoch)
					t.warn(d.Warnings)
				}
			})
		},
	}
	c.Flags().StringVar(&a.app, "app", "", "app (default: the only app known here)")
	c.Flags().StringVar(&a.pkg, "package", slipstream.DefaultPackage, "package inside the app")
	c.Flags().StringVar(&p.Release, "release", "", "only this release")
	c.Flags().StringVar(&share, "share", "100%", "share of the devices")
	c.Flags().StringVar(&control, "control", "", "share of the devices kept on the former release for comparison (default 5%)")
	c.Flags().StringVar(&p.Notes, "notes", "", "notes for people")
	t.serverFlags(c)
	return c
}

func newFloorCommand(t *tool) *cobra.Command {
	var a at
	var f api.SetFloor
	var runtime string
	c := &cobra.Command{
		Use: "floor RELEASE|SEQ|none", Short: "Set the lowest release that devices may run", Args: exactly(1, "a release, a seq or none"),
		Long: `Floor makes devices leave every release below the given one, at their next check. Withdrawals below a floor drop out
of the state. "none" takes the floor away.`,
		Example: "  slipstream floor 1.2.0\n  slipstream floor 17 --runtime '>=3.0.0'",
		RunE: func(c *cobra.Command, args []string) error {
			server, err := t.on(&a)
			if err != nil {
				return err
			}
			if runtime != "" {
				if err := decide.CheckRange(runtime); err != nil {
					return usageError{err}
				}
				f.Runtime = slipstream.Runtime{Range: runtime}
			}
			f.Package = a.pkg
			var seq int64
			if n, err := fmt.Sscanf(args[0]+"\n", "%d\n", &seq); args[0] != "none" && (err != nil || n != 1) {
				f.Release = args[0]
			}
			f.Seq = seq
			done, err := server.SetFloor(c.Context(), a.app, a.channel, f)
			if err != nil {
				return fmt.Errorf("set floor: %w", err)
			}
			return t.tell(a, done, "the floor is "+args[0])
		},
	}
	c.Flags().StringVar(&f.Platform, "platform", "", "only on this platform (default: the release's, else any)")
	c.Flags().StringVar(&runtime, "runtime", "", "only for shells in this range (default: the release's, else *)")
	c.Flags().BoolVar(&f.Force, "force", false, "even if nothing that the channel offers reaches the floor")
	t.packageFlags(c, &a)
	return c
}
