// Outlines of the regions at or above the threshold, into the slide that is open in QuPath (0.4 or
// later): Automate > Script editor; set these three; Run. Run again, it replaces what it added.
def service = "http://127.0.0.1:8000"
def result = "res_..."  // what the job says once it has succeeded
def key = ""            // where the service wants one

import qupath.lib.io.GsonTools
import qupath.lib.io.PathIO

def open = { path ->
    def connection = new URL("$service/v1/results/$path").openConnection()
    if (key) connection.setRequestProperty("Authorization", "Bearer $key")
    if (connection.responseCode != 200)
        throw new IOException("$path: ${connection.responseCode} ${connection.errorStream?.text}")
    connection.inputStream
}

// another slide's regions would look as true as this one's. QuPath crops a slide to its bounds
def facts = GsonTools.instance.fromJson(open(result).getText("UTF-8"), Map).slide
def expected = (facts.bounds0 ? facts.bounds0[2..3] : facts.size0).collect { it as int }
def shown = [getCurrentServer().width, getCurrentServer().height]
if (expected != shown)
    throw new IOException("the result is of a slide of $expected px, not of $shown px")

def regions = PathIO.readObjectsFromGeoJSON(open("$result/heatmap.geojson?kind=regions"))
def ids = regions*.ID as Set
removeObjects(getAllObjects(false).findAll { it.ID in ids }, true)
addObjects(regions)
println "${regions.size()} regions"
