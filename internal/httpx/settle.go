package httpx

import (
	"context"
	"log/slog"
	"time"
)

// settleTimeout is how long an answer waits for devices to see what it tells of.
const settleTimeout = 2 * time.Second

// Settle waits, before a change is answered, until settle has brought it to devices; nil leaves them to see it soon. What
// fails or takes longer than two seconds is only late: it goes to the log, never to who asked.
func Settle(ctx context.Context, settle func(context.Context) error, log *slog.Logger) {
	if settle == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if err := settle(ctx); err != nil {
		log.WarnContext(ctx, "devices see a change later than it was answered", "error", err)
	}
}
