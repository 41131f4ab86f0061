require "digest"

# Gives files names that change with their content, so that browsers may keep them
# for good:
#
#   {{ '/assets/css/site.css' | fingerprint }}  ->  /assets/css/site-3f0c6f1b2a9d8e47.css
#
# The file is there under both names. One who has a page from before the last
# release, and asks for a style sheet by its old name, gets it by the plain one.
module Fingerprint
  # A static file under a second name.
  class Copy < Jekyll::StaticFile
    attr_reader :url

    def initialize(site, file, url)
      super(site, site.source, File.dirname(file.relative_path), file.name)
      @url = url
    end
  end

  module Filter
    def fingerprint(path)
      site = @context.registers[:site]
      file = site.static_files.find { |candidate| candidate.url == path }
      raise ArgumentError, "fingerprint: there is no file #{path}" unless file

      hash = Digest::SHA256.file(file.path).hexdigest[0, 16]
      url = path.sub(/(\.[^.\/]+)\z/, "-#{hash}\\1")
      unless site.static_files.any? { |candidate| candidate.url == url }
        site.static_files << Copy.new(site, file, url)
      end
      url
    end
  end
end

Liquid::Template.register_filter(Fingerprint::Filter)
