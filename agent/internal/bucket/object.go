package bucket

import "io"

// Object is an S3 object as one GET returned it. The caller closes Body.
type Object struct {
	Body io.ReadCloser
	// ETag identifies this version of the object, in quotes, as S3 sent it.
	ETag string
}
