package victorops

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// outage is how the double fails on purpose.
type outage struct {
	// Status is what alerts are answered with, from 400 to 599.
	Status int `json:"status"`
	// Times is how many alerts are answered so; 0 ends an outage.
	Times int `json:"times"`
}

func parseOutage(body []byte) (outage, error) {
	var o outage
	if err := json.Unmarshal(body, &o); err != nil {
		return o, fmt.Errorf(`the body is not an outage: %w: write {"status": 503, "times": 2}`, err)
	}
	if o.Times < 0 || (o.Times > 0 && (o.Status < http.StatusBadRequest || o.Status > 599)) {
		return o, fmt.Errorf("outage with status %d, %d times: write a status from 400 to 599, and how many alerts get it", o.Status, o.Times)
	}
	return o, nil
}
