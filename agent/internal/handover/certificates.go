package handover

// Certificates are those that this server has.
type Certificates interface {
	// Missing are the names of the site for which there is none.
	Missing() ([]string, error)
}
