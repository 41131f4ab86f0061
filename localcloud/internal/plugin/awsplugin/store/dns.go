package store

// RecordSet is a Route 53 record set.
type RecordSet struct {
	ID             string   `json:"id"` // zone, name and first type, with underscores between them
	ZoneID         string   `json:"zoneId"`
	Name           string   `json:"name"` // in full, without the final dot, in lower case
	Type           string   `json:"type"`
	TTL            int64    `json:"ttl"` // seconds
	Records        []string `json:"records"`
	AllowOverwrite bool     `json:"allowOverwrite"`

	Fqdn string `json:"fqdn"`
}
