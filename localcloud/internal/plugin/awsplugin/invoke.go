package awsplugin

import (
	"context"
	"fmt"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

func (pl *plugin) invoke(_ context.Context, request p.InvokeRequest) (p.InvokeResponse, error) {
	const getCallerIdentity = "aws:index/getCallerIdentity:getCallerIdentity"
	if request.Token != getCallerIdentity {
		return p.InvokeResponse{}, fmt.Errorf("localcloud does not support function %s; it supports %s", request.Token, getCallerIdentity)
	}
	for name := range request.Args.AllStable {
		return p.InvokeResponse{}, fmt.Errorf("unknown argument %q of %s, which takes none", name, getCallerIdentity)
	}
	return p.InvokeResponse{Return: property.NewMap(map[string]property.Value{
		"id":        property.New(accountID),
		"accountId": property.New(accountID),
		"userId":    property.New("AIDALOCALCLOUD0000000"),
		"arn":       property.New("arn:aws:iam::" + accountID + ":user/localcloud"),
	})}, nil
}
