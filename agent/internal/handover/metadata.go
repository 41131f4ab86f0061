package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Metadata is the instance metadata service.
type Metadata interface {
	// PublicIPv4 returns the server's public address, or the zero Addr if it has none.
	PublicIPv4(ctx context.Context) (netip.Addr, error)
}

// IMDS is EC2's instance metadata service.
type IMDS struct {
	client *imds.Client
}

// NewIMDS returns a client of the metadata service, and sends no request.
func NewIMDS() IMDS {
	// Servers accept version 2 only.
	return IMDS{client: imds.New(imds.Options{EnableFallback: aws.FalseTernary})}
}

func (m IMDS) PublicIPv4(ctx context.Context) (netip.Addr, error) {
	output, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: "public-ipv4"})
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.HTTPStatusCode() == http.StatusNotFound {
		return netip.Addr{}, nil
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot get the public address: %w", err)
	}
	defer output.Content.Close()
	text, err := io.ReadAll(output.Content)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot get the public address: %w", err)
	}
	address, err := netip.ParseAddr(strings.TrimSpace(string(text)))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot parse the public address: %w", err)
	}
	return address, nil
}
