# Fails if a page of the build has a link to a file or an id that the build has not.
require "uri"

root = ARGV.fetch(0)
file_of = lambda do |path|
  at = File.join(root, URI.decode_www_form_component(path))
  at = File.join(at, "index.html") if File.directory?(at)
  at = "#{at}.html" unless File.exist?(at)
  File.exist?(at) ? at : nil
end
broken = Dir.glob("#{root}/**/*.html").flat_map do |page|
  base = URI("http://site/#{page.delete_prefix(root).delete_prefix('/').delete_suffix('index.html')}")
  File.read(page).scan(/(?:href|src)="([^"]+)"/).flatten.filter_map do |link|
    target = URI.join(base, link)
    next unless target.host == "site"
    file = file_of.call(target.path)
    next "#{page}: #{link}" unless file
    next if target.fragment.to_s.empty? || File.read(file).include?(%(id="#{target.fragment}"))
    "#{page}: #{link} (no such id)"
  end
end
abort "broken links:\n#{broken.join("\n")}" unless broken.empty?
puts "no broken link"
