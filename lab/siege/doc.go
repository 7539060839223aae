// Package siege attacks a client of any language through a driver (package driver). It plays the server, the network
// and whoever stole which keys. [Cases] are all attacks and thefts by name: each is one thing that somebody does to one
// device, what must come of it, and that the device follows the honest server afterwards. [Hunt] finds out which steps
// of verification the attacks watch over. [Flips] changes and cuts every byte that a device reads, and [Bodies] floods
// it.
package siege
