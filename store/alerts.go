package store

import (
	"context"
	"time"
)

// AlertState says what became of an Alert.
type AlertState string

// The states. Open and acknowledged alerts are active: repeats are counted into them.
const (
	AlertOpen         AlertState = "open"
	AlertAcknowledged AlertState = "acknowledged" // somebody looks after it: no more messages
	AlertResolved     AlertState = "resolved"
	AlertNoted        AlertState = "noted" // happened; there is nothing to look after
)

// Active reports whether the state is one of an alert that stands.
func (s AlertState) Active() bool { return s == AlertOpen || s == AlertAcknowledged }

// Alert is one thing that people should know. What kinds and severities there are, package alert says.
type Alert struct {
	ID                             int64 // 1, 2, 3 …; set by the store
	Key                            string
	Kind, Severity                 string
	App, Channel, Package, Subject string
	Title                          string
	Detail                         []byte // JSON object
	State                          AlertState
	Count                          int64     // how often it happened
	First, Last                    time.Time // when it did
	Notified                       time.Time // when messages about it were queued last
	Actor                          string    // who acknowledged or resolved it
	Note                           string    // what they said
	Changed                        time.Time // when State changed
}

// AlertQuery selects alerts, newest (highest ID) first; zero fields do not restrict.
type AlertQuery struct {
	App, Kind, Key string
	Apps           []string // any of these
	Active         bool
	BeforeID       int64
	Limit          int
}

// Alerts are the alerts, who is told of them, and the messages to be sent.
type Alerts interface {
	// Raise keeps an alert. While one with the same Key is active that one is changed instead: Count rises, and Last,
	// Title, Severity and Detail are the new ones; State and Notified stay. repeated tells which of the two happened. A noted
	// alert is never grouped.
	Raise(ctx context.Context, a Alert) (now Alert, repeated bool, err error)
	Get(ctx context.Context, id int64) (Alert, error)
	List(ctx context.Context, q AlertQuery) ([]Alert, error)
	// Save keeps State, Notified, Actor, Note and Changed of the alert with this ID. Bringing one back while another with its
	// Key is active is ErrConflict.
	Save(ctx context.Context, a Alert) error
	// Expire deletes the alerts that are not active and happened last before t, and the finished messages of before t.
	Expire(ctx context.Context, t time.Time) (int64, error)
	Targets() AlertTargets
	Deliveries() Deliveries
}

// AlertTarget is one place that is told of alerts. Sealed holds its address and secrets under the server secret.
type AlertTarget struct {
	Name     string // names it
	Type     string // how it is reached
	App      string // only alerts of this app; "" = of all
	Kinds    []string
	Severity string // the least that is told
	Address  string // for people: without secrets
	Public   string // key to check its messages with, when they are signed with a private one
	Sealed   []byte
	Disabled bool
	Created  time.Time
}

// AlertTargets are those who are told.
type AlertTargets interface {
	Put(ctx context.Context, t AlertTarget) error // the same name replaces
	Get(ctx context.Context, name string) (AlertTarget, error)
	List(ctx context.Context) ([]AlertTarget, error) // by name
	// Delete takes one away with its messages. ErrNotFound.
	Delete(ctx context.Context, name string) error
}

// DeliveryState says how far a Delivery is.
type DeliveryState string

// The states.
const (
	DeliveryQueued DeliveryState = "queued"
	DeliverySent   DeliveryState = "sent"
	DeliveryDead   DeliveryState = "dead" // given up
)

// Delivery is one message to one target.
type Delivery struct {
	ID       int64 // set by the store
	Target   string
	Alert    int64 // 0 = of none
	Event    string
	Body     []byte // JSON object
	State    DeliveryState
	Attempts int           // begun so far
	Due      time.Time     // not before; while one is under way the end of its lease
	Status   int           // HTTP status of the last answer, 0 when there was none
	Error    string        // of the last attempt, "" when it went well
	Took     time.Duration // of the last attempt
	Created  time.Time
	Updated  time.Time
}

// DeliveryQuery selects deliveries, newest (highest ID) first; zero fields do not restrict.
type DeliveryQuery struct {
	Target   string
	State    DeliveryState
	Alert    int64
	BeforeID int64
	Limit    int
}

// Deliveries are the messages, sent and to be sent. Claim and Finish are not told by Store.Watch: nobody waits for them.
type Deliveries interface {
	Add(ctx context.Context, d Delivery) (Delivery, error) // ErrNotFound without its target
	// Claim gives deliveries that are queued and due, the longest due first, at most limit and perTarget of one target, and
	// the right to them until now + lease. Each has one more attempt.
	Claim(ctx context.Context, now time.Time, lease time.Duration, limit, perTarget int) ([]Delivery, error)
	// Finish keeps State, Due, Status, Error, Took and Updated of an attempt. ErrConflict when it is not the last one any
	// more, ErrNotFound when the delivery is gone.
	Finish(ctx context.Context, d Delivery) error
	List(ctx context.Context, q DeliveryQuery) ([]Delivery, error)
	// Retry queues dead deliveries anew, due now: of target ("" = any) those with these ids, or all without any.
	Retry(ctx context.Context, now time.Time, target string, ids ...int64) (int64, error)
	// Counts gives how many there are by state.
	Counts(ctx context.Context) (map[DeliveryState]int64, error)
}
