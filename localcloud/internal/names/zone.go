package names

// Zone is a zone as it is kept in a file.
type Zone struct {
	Name string `json:"name"` // without the final dot, in lower case
	// Server is the zone's one name server: a name within it, with an address
	// among the records.
	Server  string   `json:"server"`
	Records []Record `json:"records"`
}
