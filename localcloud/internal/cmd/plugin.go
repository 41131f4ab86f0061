package cmd

import (
	"context"
	"fmt"
	"os"

	"immutable-infra/localcloud/internal/home"
	"immutable-infra/localcloud/internal/plugin/awsplugin"
	"immutable-infra/localcloud/internal/plugin/commandplugin"
	"immutable-infra/localcloud/internal/plugin/langhost"
	"immutable-infra/localcloud/internal/plugin/tlsplugin"
)

// pluginVerb is localcloud under the names of Pulumi's plugins. The engine
// starts it; standard output belongs to the protocol.
func pluginVerb(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("plugin: write one of aws, tls, command, language-go")
	}
	// Pulumi's library reads the engine's address from the command line itself.
	os.Args = append(os.Args[:1], args[1:]...)
	switch args[0] {
	case "aws":
		// The engine may run the plugin in another directory than the project's.
		h, err := home.Find(".")
		if err != nil {
			return err
		}
		return awsplugin.Serve(ctx, h.String())
	case "tls":
		return tlsplugin.Serve(ctx)
	case "command":
		return commandplugin.Serve(ctx)
	case "language-go":
		return langhost.Serve(ctx, args[1:])
	}
	return fmt.Errorf("plugin %q: write one of aws, tls, command, language-go", args[0])
}
