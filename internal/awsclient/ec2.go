package awsclient

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// AddressHolder returns the id of the instance that an Elastic IP is associated with, or "".
func (c *Client) AddressHolder(ctx context.Context, allocationID string) (instanceID string, err error) {
	response, err := c.ec2(ctx, "DescribeAddresses", url.Values{"AllocationId.1": {allocationID}})
	if err == nil {
		var described struct {
			InstanceID string `xml:"addressesSet>item>instanceId"`
		}
		err = xml.Unmarshal(response, &described)
		instanceID = described.InstanceID
	}
	if err != nil {
		return "", fmt.Errorf("cannot read which server holds the VIP: %w", err)
	}
	return instanceID, nil
}

// MoveAddress associates an Elastic IP with an instance, even if it is associated with another one.
func (c *Client) MoveAddress(ctx context.Context, allocationID, instanceID string) error {
	_, err := c.ec2(ctx, "AssociateAddress", url.Values{
		"AllocationId": {allocationID}, "InstanceId": {instanceID}, "AllowReassociation": {"true"},
	})
	if err != nil {
		return fmt.Errorf("cannot move the VIP to %s: %w", instanceID, err)
	}
	return nil
}

// TerminateInstance terminates an instance. It is not an error if the instance is already terminating.
func (c *Client) TerminateInstance(ctx context.Context, instanceID string) error {
	if _, err := c.ec2(ctx, "TerminateInstances", url.Values{"InstanceId.1": {instanceID}}); err != nil {
		return fmt.Errorf("cannot terminate %s: %w", instanceID, err)
	}
	return nil
}

// TagInstance sets one tag of an instance and leaves the others as they are.
func (c *Client) TagInstance(ctx context.Context, instanceID, key, value string) error {
	_, err := c.ec2(ctx, "CreateTags", url.Values{
		"ResourceId.1": {instanceID}, "Tag.1.Key": {key}, "Tag.1.Value": {value},
	})
	if err != nil {
		return fmt.Errorf("cannot tag %s with %s=%s: %w", instanceID, key, value, err)
	}
	return nil
}

// ec2 calls an action of EC2's query API.
func (c *Client) ec2(ctx context.Context, action string, parameters url.Values) ([]byte, error) {
	parameters.Set("Action", action)
	parameters.Set("Version", "2016-11-15")
	body := []byte(parameters.Encode())
	digest := sha256.Sum256(body)
	target := c.endpoints["EC2"]
	if target == nil {
		target = &url.URL{Scheme: "https", Host: fmt.Sprintf("ec2.%s.amazonaws.com", c.region)}
	}
	return c.Do(ctx, Request{
		Service: "ec2", Method: http.MethodPost, URL: target.JoinPath("/"),
		ContentType: "application/x-www-form-urlencoded; charset=utf-8", Digest: hex.EncodeToString(digest[:]),
		Open: func() (io.ReadCloser, int64, error) {
			return io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
		},
	})
}
